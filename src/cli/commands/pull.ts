import { command } from '../command.ts';
import { hubFlags, pullFlags } from '../flags.ts';
import { hubOptions, pullVisibly } from '../hub.ts';
import { note } from '../io.ts';
import { bytes } from '../layout.ts';

export const pullCommand = command({
  name: 'pull',
  summary: 'fetch a model from the Hugging Face hub into the cache its tools share',
  model: 'id',
  flags: { ...pullFlags, ...hubFlags },
  async run({ model, flags, io }) {
    const result = await pullVisibly(model!, await hubOptions(flags, io), io);
    const came = result.files.filter(({ cached }) => !cached);
    const sum = came.reduce((total, file) => total + file.bytes, 0);
    note(
      io,
      `${result.id} at ${result.revision.slice(0, 12)} · ${result.files.length} files, ${bytes(result.bytes)} · ${came.length ? `${bytes(sum)} fetched and checked` : 'all were cached'}`,
    );
    return { result, text: `${result.path}\n` };
  },
});

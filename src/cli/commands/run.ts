import { converse, talkFlags } from '../chat/converse.ts';
import { command } from '../command.ts';
import { hubFlags, pullFlags } from '../flags.ts';
import { freshModel } from '../hub.ts';

export const runCommand = command({
  name: 'run',
  summary: 'pull and chat in one: fetch a model of the hub, or what is new of it, and talk with it',
  model: 'id',
  flags: { ...pullFlags, ...hubFlags, ...talkFlags },
  async run({ model, flags, json, io }) {
    const { revision, file, offline, mirror, ...talk } = flags;
    const path = await freshModel(model!, flags, io);
    return await converse({ model: path, flags: talk, json, io });
  },
});

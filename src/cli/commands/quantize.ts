import { EngineError } from '../../errors.ts';
import { quantize, type QuantizeResult } from '../../quantize/quantize.ts';
import { command } from '../command.ts';
import { quantizeFlags } from '../flags.ts';
import { note } from '../io.ts';
import { bytes, facts, percent } from '../layout.ts';
import { readText } from '../../texts.ts';
import { inFlags } from '../library-names.ts';
import { startProgress } from '../progress.ts';

export const quantizeCommand = command({
  name: 'quantize',
  summary: 'write a model anew with weights of 4 or 8 bits',
  model: 'required',
  flags: quantizeFlags,
  async run({ model, flags, io }) {
    const { bits, group, output, text: path, ...options } = flags;
    if (bits === undefined || output === undefined)
      throw new EngineError(
        'BAD_REQUEST',
        `${bits === undefined ? '--bits' : '-o'} is missing, expected --bits 4 or 8 and -o FOLDER; add it`,
      );
    const text = path === undefined ? undefined : await readText(path);
    using progress = startProgress(io);
    const result = await quantize(model!, {
      ...options,
      bits: bits === '4' ? 4 : 8,
      ...(group !== undefined && { group: Number(group) as 32 | 64 | 128 }),
      output,
      ...(text !== undefined && { text }),
      signal: io.signal,
      onNote: (line) => note(io, `note: ${inFlags(line)}`),
      onProgress: (label, share) => progress.update(share, label),
    });
    return { result, text: describe(result) };
  },
});

function describe({
  output,
  bits,
  group,
  zeroPoint,
  method,
  weightBytes,
  perplexity,
}: QuantizeResult): string {
  const pairs: [string, string][] = [
    ['output', output],
    [
      'weights',
      `int${bits} in groups of ${group}${zeroPoint ? ' with zero points' : ''}, ${method}, ${bytes(weightBytes)}`,
    ],
  ];
  if (perplexity) {
    const { before, after } = perplexity;
    const growth = percent(after / before - 1, 2);
    pairs.push([
      'perplexity',
      `${before.toFixed(3)} before, ${after.toFixed(3)} after (${growth})`,
    ]);
  }
  return facts(pairs);
}

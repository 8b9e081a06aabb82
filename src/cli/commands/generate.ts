import type { Engine } from '../../engine/engine.ts';
import type { GenerateResult } from '../../engine/generate.ts';
import { EngineError } from '../../errors.ts';
import { command } from '../command.ts';
import { logprobs, methodFlags, modelFlags, promptFlags } from '../flags.ts';
import { type Io, note, write } from '../io.ts';
import { bytes, percent, rate } from '../layout.ts';
import { noteDefaults, openEngine } from '../open.ts';
import { readPrompt } from '../prompt.ts';
import { samplingFlags } from '../sampling-flags.ts';

export const generate = command({
  name: 'generate',
  summary: 'continue a text',
  model: 'required',
  flags: { ...promptFlags, ...samplingFlags, logprobs, ...modelFlags, ...methodFlags },
  async run({ model, flags, json, io }) {
    const { prompt: text, ids, ...options } = flags;
    if (options.logprobs !== undefined && !json)
      throw new EngineError(
        'BAD_REQUEST',
        '--logprobs is given without --json, which alone prints them; add --json',
      );
    const prompt = await readPrompt(flags, io);
    if (prompt === undefined)
      throw new EngineError(
        'BAD_REQUEST',
        'prompt: none is given, expected -p TEXT or --ids 5,17,9',
      );
    await using engine = await openEngine(model!, options, io);
    noteDefaults(engine, io);
    const generation = engine.generate(prompt, { ...options, signal: io.signal });
    if (!json) await print(engine, generation, io);
    const result = await generation.result;
    if (!json) note(io, summary(result));
    return { result, text: '' };
  },
});

/** Text as it becomes certain; ids where the model has no tokenizer. */
async function print(
  engine: Engine,
  pieces: AsyncIterable<{ id: number; text: string }>,
  io: Io,
): Promise<void> {
  let first = true;
  for await (const { id, text } of pieces) {
    const shown = engine.hasTokenizer ? text : `${first ? '' : ','}${id}`;
    first = false;
    if (shown) await write(io.stdout, shown);
  }
  await write(io.stdout, '\n');
}

function summary({
  promptIds,
  ids,
  finishReason,
  timing,
  density,
  bytesPerToken,
  kv,
}: GenerateResult): string {
  const read = bytesPerToken.weights + bytesPerToken.predictor;
  return [
    `${promptIds.length} + ${ids.length} tokens (${finishReason})`,
    `prefill ${rate(timing.prefillTokensPerSecond)} tokens/s`,
    `decode ${rate(timing.decodeTokensPerSecond)} tokens/s`,
    `neurons ${percent(density.neurons)}, heads ${percent(density.heads)}`,
    `${bytes(read)} of weights and predictor a token (dense ${bytes(bytesPerToken.dense)})`,
    `kv ${kv.policy}: ${kv.keptTokens} tokens kept, ${bytes(kv.residentBytes)}`,
  ].join(' · ');
}

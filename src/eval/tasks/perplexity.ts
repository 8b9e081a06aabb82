import { EngineError } from '../../errors.ts';
import type { Tokenizer } from '../../tokenizer/index.ts';
import type { Task } from '../task.ts';
import { scoreWindows, windowing, windowsOf } from '../windows.ts';

const version = 1;

/**
 * How well a text is predicted, in overlapping windows without a BOS.
 *
 * nll: mean over scored ids, in nats. bitsPerByte: bits of all scored ids over the UTF-8 bytes they
 * stand for, which compares models of different vocabularies.
 */
export const perplexity: Task = {
  name: 'perplexity',
  version,
  uses: ['text', 'limit', 'window', 'stride'],
  async run(engine, options, run) {
    const { text, limit } = options;
    if (text === undefined)
      throw new EngineError('BAD_REQUEST', 'perplexity: no text is given; add --text FILE');
    if (limit !== undefined && !(Number.isInteger(limit) && limit >= 1))
      throw new EngineError('BAD_REQUEST', `--limit is ${limit}, expected a whole number above 0`);
    const shape = windowing(engine, options);
    const ids = Int32Array.from(engine.tokenizer.encode(text, { special: false }));
    if (ids.length < 2)
      throw new EngineError(
        'BAD_TEXT',
        `perplexity: the text has ${ids.length} tokens, expected at least 2: one to begin with and one to score`,
      );
    const losses = await scoreWindows(engine, ids, windowsOf(ids.length, shape, limit), run);
    const sum = losses.reduce((a, b) => a + b, 0);
    const n = losses.length;
    const nll = sum / n;
    return {
      metrics: {
        perplexity: Math.exp(nll),
        nll,
        tokens: n,
        bitsPerByte: sum / Math.LN2 / scoredBytes(engine.tokenizer, ids, n),
      },
      n,
      version,
    };
  },
};

/** UTF-8 bytes of ids 1 to n. */
function scoredBytes(tokenizer: Tokenizer, ids: Int32Array, n: number): number {
  const bytes = (count: number): number =>
    new TextEncoder().encode(tokenizer.decode([...ids.subarray(0, count)], { special: true }))
      .length;
  return bytes(n + 1) - bytes(1);
}

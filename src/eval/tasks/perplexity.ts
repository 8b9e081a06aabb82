import type { Tokenizer } from '../../tokenizer/index.ts';
import { textIds } from '../ids.ts';
import type { Task } from '../task.ts';
import { scoreWindows, windowing, windowsOf } from '../windows.ts';

const version = 1;

/**
 * How well a text is predicted, in overlapping windows without a BOS; several follow one another.
 *
 * nll: mean over scored ids, in nats. bitsPerByte: bits of all scored ids over the UTF-8 bytes they
 * stand for, which compares models of different vocabularies.
 */
export const perplexity: Task = {
  name: 'perplexity',
  summary: 'how well a text is predicted, in overlapping windows; also bits a byte',
  version,
  uses: ['text', 'limit', 'window', 'stride'],
  async run(engine, options, run) {
    const shape = windowing(engine, options);
    const ids = textIds('perplexity', engine, options);
    const losses = await scoreWindows(
      engine,
      ids,
      windowsOf(ids.length, shape, options.limit),
      run,
    );
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

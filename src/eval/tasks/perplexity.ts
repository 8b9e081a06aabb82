import type { Tokenizer } from '../../tokenizer/index.ts';
import { textIds } from '../ids.ts';
import { defineTask } from '../task.ts';
import { scoreWindows, windowing, windowsOf } from '../windows.ts';

/**
 * How well a text is predicted, in overlapping windows without a BOS; several follow one another.
 *
 * nll: mean over scored ids, in nats. bitsPerByte: bits of all scored ids over the UTF-8 bytes they
 * stand for, which compares models of different vocabularies.
 */
export const perplexity = defineTask({
  name: 'perplexity',
  summary: 'how well a text is predicted, in overlapping windows; also bits a byte',
  version: 1,
  options: {
    /** Ids of one window. */
    window: { kind: 'whole', least: 2, help: 'ids of a window (default: 512)' },
    /** Ids from one window's start to the next one's. */
    stride: { kind: 'whole', least: 1, help: 'ids between windows (default: half a window)' },
  },
  async run(engine, options, run) {
    const shape = windowing(engine, options);
    const ids = textIds('perplexity', engine, run);
    const losses = await scoreWindows(ids, windowsOf(ids.length, shape, run.limit), run);
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
    };
  },
});

/** UTF-8 bytes of ids 1 to n. */
function scoredBytes(tokenizer: Tokenizer, ids: Int32Array, n: number): number {
  const bytes = (count: number): number =>
    new TextEncoder().encode(tokenizer.decode([...ids.subarray(0, count)], { special: true }))
      .length;
  return bytes(n + 1) - bytes(1);
}

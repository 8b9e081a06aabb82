import { EngineError } from '../errors.ts';
import { f32, i32, u32 } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import type { Tensor } from '../tensor.ts';
import { selected } from './selection.ts';
import { bind, expectSelection, expectType } from './shape.ts';

/**
 * Indices n with scores[r, n] > threshold, in ascending order; with `magnitude`, |scores|. Among
 * those of `within` only, where given. Written as a selection [R, 1 + N]; or, where `select` has one
 * row, as what any of the R rows chooses.
 */
export const selectAboveOp: Op<'scores' | 'within' | 'select', 'threshold' | 'magnitude'> = {
  name: 'selectAbove',
  operands: ['scores', 'within', 'select'],
  writes: ['select'],
  params: ['threshold', 'magnitude'],
  check(t) {
    const { R = 0, N = 0 } = bind('selectAbove', { scores: 'R N', select: 'C M' }, t);
    expectSelection('selectAbove', t.select, R, N);
    expectSelection('selectAbove', t.within, t.select!.shape[0], N);
  },
  reference({ scores, within, select }, { threshold, magnitude }) {
    const [R = 0, N = 0] = scores!.shape;
    const [score, out] = [f32(scores!), u32(select!)];
    const rows = Array.from({ length: R }, (_, row) => row);
    const above = (r: number, n: number): boolean =>
      (magnitude ? Math.abs(score[r * N + n]) : score[r * N + n]) > threshold;
    for (let c = 0; c < select!.shape[0]; c++) {
      const start = c * (1 + N);
      let count = 0;
      for (const n of selected(within, c, N))
        if (select!.shape[0] === R ? above(c, n) : rows.some((r) => above(r, n)))
          out[start + 1 + count++] = n;
      out[start] = count;
    }
  },
};

/** Record a selection by threshold from scores [R, N]; returns [R, 1 + N], or [1, 1 + N] for all rows. */
export function selectAbove(
  g: Recorder,
  scores: Tensor,
  threshold: number,
  options: {
    within?: Tensor | undefined;
    magnitude?: boolean;
    /** One selection for all rows: what any of them chooses. */
    shared?: boolean;
  } = {},
): Tensor {
  const [R = 0, N = 0] = scores.shape;
  const select = g.scratch('u32', [options.shared ? 1 : R, 1 + N]);
  g.record(
    selectAboveOp,
    { scores, within: options.within, select },
    { threshold, magnitude: options.magnitude ? 1 : 0 },
  );
  return select;
}

/** The `k` largest scores of each row, as ascending indices; of equal scores the first win. */
export const selectTopOp: Op<'scores' | 'select', 'k'> = {
  name: 'selectTop',
  operands: ['scores', 'select'],
  writes: ['select'],
  params: ['k'],
  check(t, { k }) {
    const { R = 0, N = 0 } = bind('selectTop', { scores: 'R N' }, t);
    bind('selectTop', { select: `${R} ${1 + N}` }, t);
    expectType('selectTop', 'select', t.select, 'u32');
    if (!Number.isInteger(k) || k < 0 || k > N)
      throw new EngineError('BAD_SHAPE', `selectTop: ${k} of ${N}`);
  },
  reference({ scores, select }, { k }) {
    const [R = 0, N = 0] = scores!.shape;
    const [score, out] = [f32(scores!), u32(select!)];
    for (let r = 0; r < R; r++) {
      const row = score.subarray(r * N, (r + 1) * N);
      const order = Array.from(row.keys()).sort((a, b) => row[b] - row[a] || a - b);
      out.set([k, ...order.slice(0, k).sort((a, b) => a - b)], r * (1 + N));
    }
  },
};

/** Record the selection of the `k` best of scores [R, N]; returns [R, 1 + N]. */
export function selectTop(g: Recorder, scores: Tensor, k: number): Tensor {
  const [R = 0, N = 0] = scores.shape;
  const select = g.scratch('u32', [R, 1 + N]);
  g.record(selectTopOp, { scores, select }, { k });
  return select;
}

/**
 * Pseudo-random numbers in [0, 1) that depend on the seed, each row's sequence and position and the
 * column alone, so that a random selection is the same on every backend and in every run.
 */
export const noiseOp: Op<'sequences' | 'positions' | 'y', 'seed'> = {
  name: 'noise',
  operands: ['sequences', 'positions', 'y'],
  writes: ['y'],
  params: ['seed'],
  check(t) {
    bind('noise', { sequences: 'T', positions: 'T', y: 'T N' }, t);
    expectType('noise', 'sequences', t.sequences, 'i32');
    expectType('noise', 'positions', t.positions, 'i32');
  },
  reference({ sequences, positions, y }, { seed }) {
    const [T = 0, N = 0] = y!.shape;
    const [texts, at, out] = [i32(sequences!), i32(positions!), f32(y!)];
    for (let t = 0; t < T; t++) {
      const row = hash(hash(seed + texts[t]) + at[t]);
      for (let n = 0; n < N; n++) out[t * N + n] = hash(row + n) / 2 ** 32;
    }
  },
};

/** A 32-bit finalizer (murmur3's): u32 -> u32. Only the top 24 bits survive the cast to f32. */
function hash(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return ((x ^ (x >>> 16)) >>> 8) * 256;
}

/** Record noise [T, n] for rows of T texts. `seed` is a non-negative integer below 2^31. */
export function noise(
  g: Recorder,
  { sequences, positions }: { sequences: Tensor; positions: Tensor },
  n: number,
  seed: number,
): Tensor {
  const y = g.scratch('f32', [positions.shape[0], n]);
  g.record(noiseOp, { sequences, positions, y }, { seed });
  return y;
}

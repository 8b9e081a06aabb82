import { f32, u32 } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import type { Tensor } from '../tensor.ts';
import { selected } from './selection.ts';
import { bind, expectSelection, expectType } from './shape.ts';

/** Indices that any row of `select` [R, 1 + N] chooses, ascending, as `shared` [1, 1 + N]. */
export const unionOp: Op<'select' | 'shared', never> = {
  name: 'union',
  operands: ['select', 'shared'],
  writes: ['shared'],
  params: [],
  check(t) {
    const { M = 0 } = bind('union', { select: 'R M' }, t);
    bind('union', { shared: `1 ${M}` }, t);
    expectType('union', 'select', t.select, 'u32');
    expectType('union', 'shared', t.shared, 'u32');
  },
  reference({ select, shared }) {
    const [R = 0, M = 0] = select!.shape;
    const found = new Set<number>();
    for (let r = 0; r < R; r++) for (const n of selected(select, r, M - 1)) found.add(n);
    u32(shared!).set([found.size, ...[...found].sort((a, b) => a - b)]);
  },
};

/** One selection [1, 1 + N] of what any row of `select` [R, 1 + N] chooses; of one row, itself. */
export function union(g: Recorder, select: Tensor): Tensor {
  const [R = 0, M = 0] = select.shape;
  if (R === 1) return select;
  return g.once(select, () => {
    const shared = g.scratch('u32', [1, M]);
    g.record(unionOp, { select, shared }, {});
    return shared;
  });
}

/**
 * y[0, n] = Σ_r max(scores[r, n], 0), or, where no row's score is positive, the largest of them: what
 * Polar-Sparsity ranks a batch's neurons by (arXiv 2505.14884), with an order below zero too.
 */
export const poolOp: Op<'scores' | 'y', never> = {
  name: 'pool',
  operands: ['scores', 'y'],
  writes: ['y'],
  params: [],
  check(t) {
    const { N = 0 } = bind('pool', { scores: 'R N' }, t);
    bind('pool', { y: `1 ${N}` }, t);
  },
  reference({ scores, y }) {
    const [R = 0, N = 0] = scores!.shape;
    const [score, out] = [f32(scores!), f32(y!)];
    for (let n = 0; n < N; n++) {
      let sum = 0;
      let peak = -Infinity;
      for (let r = 0; r < R; r++) {
        const value = score[r * N + n];
        sum += Math.max(value, 0);
        peak = Math.max(peak, value);
      }
      out[n] = peak > 0 ? sum : peak;
    }
  },
};

/** Scores [1, N] of scores [R, N] for all rows together; of one row, themselves. */
export function pool(g: Recorder, scores: Tensor): Tensor {
  const [R = 0, N = 0] = scores.shape;
  if (R === 1) return scores;
  const y = g.scratch('f32', [1, N]);
  g.record(poolOp, { scores, y }, {});
  return y;
}

/** x[t, n] = 0 for every n that row t does not select, in place. */
export const blankOp: Op<'select' | 'x', never> = {
  name: 'blank',
  operands: ['select', 'x'],
  writes: ['x'],
  params: [],
  check(t) {
    const { T = 0, N = 0 } = bind('blank', { x: 'T N D' }, t);
    expectSelection('blank', t.select, T, N);
  },
  reference({ select, x }) {
    const [T = 0, N = 0, D = 0] = x!.shape;
    const data = f32(x!);
    for (let t = 0; t < T; t++) {
      const kept = new Set(selected(select, t, N));
      for (let n = 0; n < N; n++)
        if (!kept.has(n)) data.fill(0, (t * N + n) * D, (t * N + n + 1) * D);
    }
  },
};

/** Zero what rows of x [T, N, D] do not select, in place; returns x. */
export function blank(g: Recorder, x: Tensor, select: Tensor): Tensor {
  g.record(blankOp, { select, x }, {});
  return x;
}

import { f32 } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import type { Tensor } from '../tensor.ts';
import { bind } from './shape.ts';

/**
 * y[n] = Σ_e x[n, e]. The plainest read of memory there is: its speed over an array larger than the
 * caches is the bandwidth that everything else is measured against.
 */
export const rowSumsOp: Op<'x' | 'y', never> = {
  name: 'rowSums',
  operands: ['x', 'y'],
  writes: ['y'],
  params: [],
  check(t) {
    bind('rowSums', { x: 'N E', y: 'N' }, t);
  },
  reference({ x, y }) {
    const [N = 0, E = 0] = x!.shape;
    const [data, out] = [f32(x!), f32(y!)];
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let e = 0; e < E; e++) sum += data[n * E + e];
      out[n] = sum;
    }
  },
};

/** Record the sums of rows of x [N, E]; returns [N]. */
export function rowSums(g: Recorder, x: Tensor): Tensor {
  const y = g.scratch('f32', [x.shape[0]]);
  g.record(rowSumsOp, { x, y }, {});
  return y;
}

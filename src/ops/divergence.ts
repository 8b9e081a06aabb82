import { f32 } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import type { Tensor } from '../tensor.ts';
import { bind } from './shape.ts';

/**
 * y[t] = Σ_v p(v) · log(p(v) / q(v)), p and q being the softmax of reference[t] and of logits[t]: how far
 * a sparse step is from the dense one, in nats. Far less noisy than the difference of their losses.
 */
export const divergenceOp: Op<'logits' | 'reference' | 'y', never> = {
  name: 'divergence',
  operands: ['logits', 'reference', 'y'],
  writes: ['y'],
  params: [],
  check(t) {
    bind('divergence', { logits: 'T V', reference: 'T V', y: 'T' }, t);
  },
  reference({ logits, reference, y }) {
    const [T = 0, V = 0] = logits!.shape;
    const [q, p, out] = [f32(logits!), f32(reference!), f32(y!)];
    for (let t = 0; t < T; t++) {
      const [mine, theirs] = [q, p].map((all) => logSoftmax(all.subarray(t * V, (t + 1) * V)));
      let sum = 0;
      for (let v = 0; v < V; v++) sum += Math.exp(theirs[v]) * (theirs[v] - mine[v]);
      out[t] = sum;
    }
  },
};

function logSoftmax(row: Float32Array): Float64Array {
  const peak = row.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = row.reduce((sum, x) => sum + Math.exp(x - peak), 0);
  return Float64Array.from(row, (x) => x - peak - Math.log(total));
}

/** Record KL(reference ‖ logits), both logits [T, V]; returns [T]. */
export function divergence(g: Recorder, logits: Tensor, reference: Tensor): Tensor {
  const y = g.scratch('f32', [logits.shape[0]]);
  g.record(divergenceOp, { logits, reference, y }, {});
  return y;
}

import { f32, i32 } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import type { Tensor } from '../tensor.ts';
import { bind, expectType } from './shape.ts';

/** y[t] = log Σ_v exp(logits[t, v]) − logits[t, targets[t]]: loss in nats; 0 where the target is < 0. */
export const crossEntropyOp: Op<'logits' | 'targets' | 'y', never> = {
  name: 'crossEntropy',
  operands: ['logits', 'targets', 'y'],
  writes: ['y'],
  params: [],
  check(t) {
    bind('crossEntropy', { logits: 'T V', targets: 'T', y: 'T' }, t);
    expectType('crossEntropy', 'targets', t.targets, 'i32');
  },
  reference({ logits, targets, y }) {
    const [T = 0, V = 0] = logits!.shape;
    const [data, wanted, out] = [f32(logits!), i32(targets!), f32(y!)];
    for (let t = 0; t < T; t++) {
      const row = data.subarray(t * V, (t + 1) * V);
      const peak = row.reduce((a, b) => Math.max(a, b), -Infinity);
      let total = 0;
      for (const x of row) total += Math.exp(x - peak);
      const target = wanted[t];
      out[t] = target < 0 ? 0 : Math.log(total) + peak - row[target];
    }
  },
};

/** Record the loss of logits [T, V] against targets [T]; returns [T]. */
export function crossEntropy(g: Recorder, logits: Tensor, targets: Tensor): Tensor {
  const y = g.scratch('f32', [logits.shape[0]]);
  g.record(crossEntropyOp, { logits, targets, y }, {});
  return y;
}

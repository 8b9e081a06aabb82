import { f32 } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import type { Tensor } from '../tensor.ts';
import { bind } from './shape.ts';

/**
 * Layer norm over the last axis; with `rms`, root-mean-square norm (nothing is subtracted).
 * y[t] = (x[t] - mean) / sqrt(var + eps) * weight + bias.
 */
export const normOp: Op<'x' | 'weight' | 'bias' | 'y', 'eps' | 'rms'> = {
  name: 'norm',
  operands: ['x', 'weight', 'bias', 'y'],
  writes: ['y'],
  params: ['eps', 'rms'],

  check(t) {
    bind('norm', { x: 'T E', 'weight?': 'E', 'bias?': 'E', y: 'T E' }, t);
  },

  reference({ x, weight, bias, y }, { eps, rms }) {
    const [T = 0, E = 0] = x!.shape;
    const [input, out, w, b] = [f32(x!), f32(y!), weight && f32(weight), bias && f32(bias)];
    for (let t = 0; t < T; t++) {
      const row = input.subarray(t * E, (t + 1) * E);
      let mean = 0;
      if (!rms) for (const v of row) mean += v / E;
      let variance = 0;
      for (const v of row) variance += (v - mean) ** 2 / E;
      const scale = 1 / Math.sqrt(variance + eps);
      for (let e = 0; e < E; e++)
        out[t * E + e] = (row[e] - mean) * scale * (w ? w[e] : 1) + (b ? b[e] : 0);
    }
  },
};

/** Record a norm of x [T, E]. */
export function norm(
  g: Recorder,
  x: Tensor,
  w: { weight?: Tensor | undefined; bias?: Tensor | undefined; eps: number; rms?: boolean },
): Tensor {
  const y = g.scratch('f32', x.shape);
  g.record(normOp, { x, weight: w.weight, bias: w.bias, y }, { eps: w.eps, rms: w.rms ? 1 : 0 });
  return y;
}

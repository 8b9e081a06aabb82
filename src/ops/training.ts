import { f32 } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import type { Tensor } from '../tensor.ts';
import { bind } from './shape.ts';

/** dw[n] = Σ_t dy[t, n] · x[t], dbias[n] = Σ_t dy[t, n]: gradients of a `linear`'s weights. */
export const weightGradientOp: Op<'dy' | 'x' | 'dw' | 'dbias', never> = {
  name: 'weightGradient',
  operands: ['dy', 'x', 'dw', 'dbias'],
  writes: ['dw', 'dbias'],
  params: [],
  check(t) {
    bind('weightGradient', { dy: 'T N', x: 'T E', dw: 'N E', dbias: 'N' }, t);
  },
  reference({ dy, x, dw, dbias }) {
    const [T = 0, N = 0] = dy!.shape;
    const E = x!.shape[1];
    const [slope, input, weights, bias] = [f32(dy!), f32(x!), f32(dw!), f32(dbias!)];
    const row = new Float64Array(E);
    for (let n = 0; n < N; n++) {
      row.fill(0);
      let sum = 0;
      for (let t = 0; t < T; t++) {
        const s = slope[t * N + n];
        sum += s;
        for (let e = 0; e < E; e++) row[e] += s * input[t * E + e];
      }
      weights.set(row, n * E);
      bias[n] = sum;
    }
  },
};

/** Record the gradients of w [N, E] and bias [N] of a linear from dy [T, N] and its input x [T, E]. */
export function weightGradient(g: Recorder, dy: Tensor, x: Tensor): { dw: Tensor; dbias: Tensor } {
  const N = dy.shape[1];
  const dw = g.scratch('f32', [N, x.shape[1]]);
  const dbias = g.scratch('f32', [N]);
  g.record(weightGradientOp, { dy, x, dw, dbias }, {});
  return { dw, dbias };
}

/** dx = dy where y > 0, else 0: the gradient through y = relu(x). */
export const reluGradientOp: Op<'dy' | 'y' | 'dx', never> = {
  name: 'reluGradient',
  operands: ['dy', 'y', 'dx'],
  writes: ['dx'],
  params: [],
  check(t) {
    bind('reluGradient', { dy: 'T N', y: 'T N', dx: 'T N' }, t);
  },
  reference({ dy, y, dx }) {
    const [slope, value, out] = [f32(dy!), f32(y!), f32(dx!)];
    for (let i = 0; i < out.length; i++) out[i] = value[i] > 0 ? slope[i] : 0;
  },
};

/** Record the gradient through a relu whose output was y [T, N]. */
export function reluGradient(g: Recorder, dy: Tensor, y: Tensor): Tensor {
  const dx = g.scratch('f32', y.shape);
  g.record(reluGradientOp, { dy, y, dx }, {});
  return dx;
}

/**
 * Weighted binary cross-entropy of scores against labels, and its gradient.
 *
 * `labels` [T, N] are weights: 0 says the unit was inactive (weight `negative`), w > 0 that it was
 * active and weighs w. losses[t] is the mean over n, ds the gradient of the sum over n, divided by T.
 */
export const bceGradientOp: Op<'scores' | 'labels' | 'ds' | 'losses', 'negative'> = {
  name: 'bceGradient',
  operands: ['scores', 'labels', 'ds', 'losses'],
  writes: ['ds', 'losses'],
  params: ['negative'],
  check(t) {
    bind('bceGradient', { scores: 'T N', labels: 'T N', ds: 'T N', losses: 'T' }, t);
  },
  reference({ scores, labels, ds, losses }, { negative }) {
    const [T = 0, N = 0] = scores!.shape;
    const [score, label, slope, loss] = [f32(scores!), f32(labels!), f32(ds!), f32(losses!)];
    for (let t = 0; t < T; t++) {
      let sum = 0;
      for (let n = 0; n < N; n++) {
        const i = t * N + n;
        const s = score[i];
        const active = label[i] > 0;
        const weight = active ? label[i] : negative;
        const p = 1 / (1 + Math.exp(-s));
        slope[i] = (weight * (p - (active ? 1 : 0))) / T;
        // log(1 + exp(∓s)), without overflow.
        const signed = active ? -s : s;
        sum += weight * (Math.max(signed, 0) + Math.log1p(Math.exp(-Math.abs(s))));
      }
      loss[t] = sum / N;
    }
  },
};

/** Record the loss [T] of scores [T, N] against labels [T, N], and its gradient ds [T, N]. */
export function bceGradient(
  g: Recorder,
  scores: Tensor,
  labels: Tensor,
  negative: number,
): { ds: Tensor; losses: Tensor } {
  const ds = g.scratch('f32', scores.shape);
  const losses = g.scratch('f32', [scores.shape[0]]);
  g.record(bceGradientOp, { scores, labels, ds, losses }, { negative });
  return { ds, losses };
}

/**
 * One step of AdamW (arXiv 1711.05101) on w, in place, with moments m and v.
 *
 * `schedule` [3] is written by the host before each run: the learning rate, 1 / (1 − β1^step),
 * 1 / (1 − β2^step). Decay is decoupled: w shrinks by rate · decay.
 */
export const adamOp: Op<
  'gradient' | 'schedule' | 'w' | 'm' | 'v',
  'beta1' | 'beta2' | 'eps' | 'decay'
> = {
  name: 'adam',
  operands: ['gradient', 'schedule', 'w', 'm', 'v'],
  writes: ['w', 'm', 'v'],
  params: ['beta1', 'beta2', 'eps', 'decay'],
  check(t) {
    const pattern = t.w?.shape.map((_, i) => 'NEF'[i]).join(' ') ?? 'N';
    bind('adam', { gradient: pattern, w: pattern, m: pattern, v: pattern, schedule: '3' }, t);
  },
  reference({ gradient, schedule, w, m, v }, { beta1, beta2, eps, decay }) {
    const [slope, weight, first, second] = [f32(gradient!), f32(w!), f32(m!), f32(v!)];
    const [rate, fix1, fix2] = f32(schedule!);
    for (let i = 0; i < slope.length; i++) {
      first[i] = beta1 * first[i] + (1 - beta1) * slope[i];
      second[i] = beta2 * second[i] + (1 - beta2) * slope[i] ** 2;
      const step = (first[i] * fix1) / (Math.sqrt(second[i] * fix2) + eps);
      weight[i] -= rate * (step + decay * weight[i]);
    }
  },
};

/** Record one AdamW step on w, in place. */
export function adam(
  g: Recorder,
  tensors: { gradient: Tensor; schedule: Tensor; w: Tensor; m: Tensor; v: Tensor },
  params: { beta1: number; beta2: number; eps: number; decay: number },
): void {
  g.record(adamOp, tensors, params);
}

import { f32 } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import type { Tensor } from '../tensor.ts';
import { selected } from './selection.ts';
import { bind, expectSelection } from './shape.ts';

/** y = a + b. */
export const addOp: Op<'a' | 'b' | 'y', never> = {
  name: 'add',
  operands: ['a', 'b', 'y'],
  writes: ['y'],
  params: [],
  check(t) {
    bind('add', { a: 'T E', b: 'T E', y: 'T E' }, t);
  },
  reference({ a, b, y }) {
    const [left, right, out] = [f32(a!), f32(b!), f32(y!)];
    for (let i = 0; i < out.length; i++) out[i] = left[i] + right[i];
  },
};

/** Record a + b, both [T, E]. */
export function add(g: Recorder, a: Tensor, b: Tensor): Tensor {
  const y = g.scratch('f32', a.shape);
  g.record(addOp, { a, b, y }, {});
  return y;
}

/** y = a * b where selected (all, by default); the rest of y is not written. */
export const multiplyOp: Op<'a' | 'b' | 'select' | 'y', never> = {
  name: 'multiply',
  operands: ['a', 'b', 'select', 'y'],
  writes: ['y'],
  params: [],
  check(t) {
    const { T = 0, N = 0 } = bind('multiply', { a: 'T N', b: 'T N', y: 'T N' }, t);
    expectSelection('multiply', t.select, T, N);
  },
  reference({ a, b, select, y }) {
    const [T = 0, N = 0] = a!.shape;
    const [left, right, out] = [f32(a!), f32(b!), f32(y!)];
    for (let t = 0; t < T; t++)
      for (const n of selected(select, t, N)) out[t * N + n] = left[t * N + n] * right[t * N + n];
  },
};

/** Record a * b, both [T, N], where selected. */
export function multiply(g: Recorder, a: Tensor, b: Tensor, select?: Tensor): Tensor {
  const y = g.scratch('f32', a.shape);
  g.record(multiplyOp, { a, b, select, y }, {});
  return y;
}

/** y = x, between -limit and limit. */
export const clampOp: Op<'x' | 'y', 'limit'> = {
  name: 'clamp',
  operands: ['x', 'y'],
  writes: ['y'],
  params: ['limit'],
  check(t) {
    bind('clamp', { x: 'T E', y: 'T E' }, t);
  },
  reference({ x, y }, { limit }) {
    const [input, out] = [f32(x!), f32(y!)];
    for (let i = 0; i < out.length; i++) out[i] = Math.min(limit, Math.max(-limit, input[i]));
  },
};

/** Record x [T, E] kept between -limit and limit. */
export function clamp(g: Recorder, x: Tensor, limit: number): Tensor {
  const y = g.scratch('f32', x.shape);
  g.record(clampOp, { x, y }, { limit });
  return y;
}

/** y[t, n] = ‖x[t, n]‖₂ · scale[n]; with D of 1, a scaled magnitude. */
export const magnitudeOp: Op<'x' | 'scale' | 'y', never> = {
  name: 'magnitude',
  operands: ['x', 'scale', 'y'],
  writes: ['y'],
  params: [],
  check(t) {
    bind('magnitude', { x: 'T N D', 'scale?': 'N', y: 'T N' }, t);
  },
  reference({ x, scale, y }) {
    const [T = 0, N = 0, D = 0] = x!.shape;
    const [input, out, scales] = [f32(x!), f32(y!), scale && f32(scale)];
    for (let i = 0; i < T * N; i++) {
      let square = 0;
      for (let d = 0; d < D; d++) square += input[i * D + d] ** 2;
      out[i] = Math.sqrt(square) * (scales ? scales[i % N] : 1);
    }
  },
};

/** Record norms of the last axis of x [T, N, D], times scale [N]. */
export function magnitude(g: Recorder, x: Tensor, scale?: Tensor): Tensor {
  const y = g.scratch('f32', x.shape.slice(0, 2));
  g.record(magnitudeOp, { x, scale, y }, {});
  return y;
}

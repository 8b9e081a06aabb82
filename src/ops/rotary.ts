import { f32, i32 } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import type { Tensor } from '../tensor.ts';
import { bind, expectType } from './shape.ts';

/**
 * Cosines and sines of positions[t] * frequencies[i]: y[t] = cos of each, then sin of each, times
 * `scale`. Once a step, for all layers. Angles are formed in f64, so they stay exact past a million.
 */
export const rotaryAnglesOp: Op<'positions' | 'frequencies' | 'y', 'scale'> = {
  name: 'rotaryAngles',
  operands: ['positions', 'frequencies', 'y'],
  writes: ['y'],
  params: ['scale'],
  check(t) {
    const { F = 0 } = bind('rotaryAngles', { positions: 'T', frequencies: 'F' }, t);
    bind('rotaryAngles', { positions: 'T', y: `T ${2 * F}` }, t);
    expectType('rotaryAngles', 'positions', t.positions, 'i32');
  },
  reference({ positions, frequencies, y }, { scale }) {
    const [at, rate, out] = [i32(positions!), f32(frequencies!), f32(y!)];
    const F = rate.length;
    at.forEach((position, t) => {
      for (let i = 0; i < F; i++) {
        const angle = position * rate[i];
        out[t * 2 * F + i] = Math.cos(angle) * scale;
        out[t * 2 * F + F + i] = Math.sin(angle) * scale;
      }
    });
  },
};

/** Record the angles of `positions` [T] for `frequencies` [R/2]; returns [T, R]. */
export function rotaryAngles(
  g: Recorder,
  positions: Tensor,
  frequencies: Tensor,
  scale = 1,
): Tensor {
  const y = g.scratch('f32', [positions.shape[0], 2 * frequencies.shape[0]]);
  rotaryAnglesInto(g, { positions, frequencies, y }, scale);
  return y;
}

/** Record the same into y [T, R]. */
export function rotaryAnglesInto(
  g: Recorder,
  operands: { positions: Tensor; frequencies: Tensor; y: Tensor },
  scale = 1,
): void {
  g.record(rotaryAnglesOp, operands, { scale });
}

/** Turn the first R elements of a head in place by angles[at] of [P, R]: cosines, then sines. */
export function turn(head: Float32Array, angles: Float32Array, at: number, R: number): void {
  const half = R / 2;
  for (let i = 0; i < half; i++) {
    const [cos, sin] = [angles[at * R + i], angles[at * R + half + i]];
    const [a, b] = [head[i], head[i + half]];
    head[i] = a * cos - b * sin;
    head[i + half] = b * cos + a * sin;
  }
}

/**
 * Rotary position embedding (RoFormer, arXiv 2104.09864) of the first R elements of each head; the
 * rest are copied. Pairs are (i, i + R/2), as Hugging Face checkpoints are laid out.
 */
export const rotaryOp: Op<'x' | 'angles' | 'y', never> = {
  name: 'rotary',
  operands: ['x', 'angles', 'y'],
  writes: ['y'],
  params: [],
  check(t) {
    bind('rotary', { x: 'T N D', angles: 'T R', y: 'T N D' }, t);
  },
  reference({ x, angles, y }) {
    const [T = 0, N = 0, D = 0] = x!.shape;
    const R = angles!.shape[1];
    const [table, out] = [f32(angles!), f32(y!)];
    out.set(f32(x!));
    for (let t = 0; t < T; t++)
      for (let n = 0; n < N; n++)
        turn(out.subarray((t * N + n) * D, (t * N + n + 1) * D), table, t, R);
  },
};

/** Record the rotation of x [T, N, D] by angles [T, R]. */
export function rotary(g: Recorder, x: Tensor, angles: Tensor): Tensor {
  const y = g.scratch('f32', x.shape);
  g.record(rotaryOp, { x, angles, y }, {});
  return y;
}

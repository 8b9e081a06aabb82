import { f32, rowWriter } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import type { DType, Tensor } from '../tensor.ts';
import { bind, expectType, weightTypes } from './shape.ts';

/** y = x in another weight type, rounding to nearest: what training does to serve as it learned. */
export const encodeOp: Op<'x' | 'y', never> = {
  name: 'encode',
  operands: ['x', 'y'],
  writes: ['y'],
  params: [],
  check(t) {
    bind('encode', { x: 'N E', y: 'N E' }, t);
    expectType('encode', 'x', t.x, 'f32');
    expectType('encode', 'y', t.y, ...weightTypes);
  },
  reference({ x, y }) {
    const [N = 0, E = 0] = x!.shape;
    const data = f32(x!);
    const write = rowWriter(y!);
    for (let n = 0; n < N; n++) write(n, data.subarray(n * E, (n + 1) * E));
  },
};

/** Record the encoding of x [N, E] as `dtype`. */
export function encode(g: Recorder, x: Tensor, dtype: DType): Tensor {
  const y = g.scratch(dtype, x.shape);
  g.record(encodeOp, { x, y }, {});
  return y;
}

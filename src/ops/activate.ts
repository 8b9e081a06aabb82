import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import { f32 } from '../rows.ts';
import type { Tensor } from '../tensor.ts';
import { activate as applied, type Activation, activationCode } from './activation.ts';
import { bind } from './shape.ts';

/** y = act(x): for products that cannot apply it themselves, as those do that are summed input by input. */
export const activateOp: Op<'x' | 'y', 'activation'> = {
  name: 'activate',
  operands: ['x', 'y'],
  writes: ['y'],
  params: ['activation'],
  check(t) {
    bind('activate', { x: 'T N', y: 'T N' }, t);
  },
  reference({ x, y }, { activation }) {
    const [input, out] = [f32(x!), f32(y!)];
    for (let i = 0; i < out.length; i++) out[i] = applied(activation, input[i]);
  },
};

/** Record act(x) of x [T, N]; of `none`, x itself. */
export function activate(g: Recorder, x: Tensor, activation: Activation): Tensor {
  if (activation === 'none') return x;
  const y = g.scratch('f32', x.shape);
  g.record(activateOp, { x, y }, { activation: activationCode(activation) });
  return y;
}

import { expect, it } from 'vitest';
import type { Backend } from '../backend.ts';
import { add } from '../ops/elementwise.ts';
import { linear } from '../ops/linear.ts';
import { Recorder } from '../program.ts';
import { slice, type Tensor } from '../tensor.ts';
import { expectAccepted, refusals } from './expect.ts';

const strict: Pick<Backend, 'name' | 'limits' | 'refuses'> = {
  name: 'strict',
  limits: { operands: 3, alignment: 16 },
  refuses: ({ op, operands }) =>
    op.name === 'linear' && operands['w']?.dtype === 'f16' ? 'no kernel reads f16' : undefined,
};

const tensor = (dtype: Tensor['dtype'], shape: number[]): Tensor => ({
  ...{ dtype, shape, role: 'state', byteOffset: 0 },
  storage: { bytes: 0, role: 'state' },
});

it('says of each command why a backend cannot run it, each reason once', () => {
  const g = new Recorder();
  const [x, three] = [tensor('f32', [1, 4]), tensor('f32', [3, 3])];
  const bias = tensor('f32', [2]);
  const y = add(g, x, x);
  linear(g, { x: y, w: tensor('f32', [2, 4]) });
  expect(refusals(strict, g.commands)).toEqual([]);
  for (let i = 0; i < 2; i++) {
    linear(g, { x: y, w: tensor('f16', [2, 4]) });
    linear(g, { x: y, w: tensor('f32', [2, 4]), bias });
    add(g, slice(three, 1, 1), slice(three, 0, 1));
  }
  const reasons = [
    'linear: no kernel reads f16',
    'linear with 4 operands: its kernels take 3',
    'add of a view: a begins at byte 12 of its tensor, and kernels take multiples of 16',
  ];
  expect(refusals(strict, g.commands)).toEqual(reasons);
  expect(() => expectAccepted(strict, g.commands)).toThrow(
    `strict backend: cannot run ${reasons.join('; ')}`,
  );
});

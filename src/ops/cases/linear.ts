import type { Case } from '../../op.ts';
import { isQuantized } from '../../tensor.ts';
import { type Activation, activationCode, activations } from '../activation.ts';
import { casesOf, Inputs, output, tileTolerance } from './inputs.ts';
import { weightTypes } from '../shape.ts';
import { linearOp } from '../linear.ts';

export const linear = casesOf(linearOp, () => {
  const random = new Inputs(1);
  const make = (
    T: number,
    E: number,
    N: number,
    options: {
      x?: 'f32' | 'int8';
      w?: (typeof weightTypes)[number];
      bias?: boolean;
      share?: number;
      rows?: number;
      block?: number;
      activation?: Activation;
    } = {},
  ): Case<'x' | 'w' | 'bias' | 'select' | 'y', 'activation' | 'block'> => {
    const { x = 'f32', w = 'f32', share, rows = 1, block = 1, activation = 'none' } = options;
    return {
      name: `[${T},${E}]x[${N},${E}] ${JSON.stringify(options)}`,
      operands: {
        x: random.numbers([T, E], x),
        w: random.numbers([N, E], w),
        bias: options.bias ? random.numbers([N]) : undefined,
        select: share === undefined ? undefined : random.selection(rows, N / block, share),
        y: output([T, N]),
      },
      params: { activation: activationCode(activation), block },
      ...(x === 'int8' && T >= 8 && { tileTolerance }),
    };
  };
  return [
    make(1, 1, 1),
    make(1, 7, 3, { bias: true }),
    ...weightTypes.flatMap((w) => [
      make(1, 64, 33, { w, bias: true, activation: 'relu' }),
      make(1, 301, 130, { w }),
      make(3, 95, 17, { w, bias: true, activation: 'silu' }),
      make(2, 1100, 9, { w }),
      make(37, 130, 51, { w, activation: 'gelu' }),
      make(1, 257, 40, { w, share: 0 }),
      make(1, 257, 40, { w, share: 0.05, bias: true }),
      make(1, 257, 40, { w, share: 1, activation: 'geluTanh' }),
      make(1, 48, 64, { w, share: 0.5, block: 16 }),
      make(5, 48, 64, { w, share: 0.5, rows: 5, block: 16 }),
      make(5, 48, 64, { w, share: 0.5, rows: 1 }),
    ]),
    ...weightTypes
      .filter(isQuantized)
      .flatMap((w) => [
        make(1, 1, 1, { x: 'int8', w }),
        make(1, 31, 5, { x: 'int8', w, bias: true, activation: 'relu' }),
        make(1, 96, 33, { x: 'int8', w }),
        make(1, 128, 70, { x: 'int8', w, bias: true }),
        make(1, 256, 40, { x: 'int8', w, share: 0.5, bias: true }),
        make(3, 384, 21, { x: 'int8', w, bias: true, activation: 'relu' }),
        make(3, 301, 17, { x: 'int8', w, activation: 'silu' }),
        make(9, 1100, 7, { x: 'int8', w }),
        make(1, 257, 40, { x: 'int8', w, share: 0 }),
        make(1, 257, 40, { x: 'int8', w, share: 0.3 }),
        make(5, 48, 64, { x: 'int8', w, share: 0.5, rows: 5, block: 16 }),
        make(9, 48, 64, { x: 'int8', w, share: 0.5, rows: 9, block: 16 }),
        make(6, 300, 45, { x: 'int8', w, bias: true }),
        make(7, 544, 70, { x: 'int8', w, share: 0.4, block: 10 }),
        make(16, 95, 31, { x: 'int8', w, bias: true }),
        make(32, 160, 40, { x: 'int8', w, activation: 'relu' }),
        make(17, 1063, 65, { x: 'int8', w, activation: 'silu' }),
        make(33, 512, 130, { x: 'int8', w, share: 0.3, bias: true }),
        make(8, 257, 40, { x: 'int8', w, share: 0 }),
      ]),
    ...activations.map((activation) => make(2, 33, 19, { activation })),
  ];
});

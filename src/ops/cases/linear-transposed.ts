import type { Case } from '../../op.ts';
import { formatOf, isQuantized } from '../../tensor.ts';
import { casesOf, Inputs, output, tileTolerance } from './inputs.ts';
import { weightTypes } from '../shape.ts';
import { linearTransposedOp } from '../linear-transposed.ts';

/** What rounding factors to 15 bits may change, as a share of the output's largest magnitude. */
const roundedFactors = 2e-4;

export const linearTransposed = casesOf(linearTransposedOp, () => {
  const random = new Inputs(2);
  const make = (
    T: number,
    N: number,
    E: number,
    options: {
      w?: (typeof weightTypes)[number];
      bias?: boolean;
      add?: boolean;
      share?: number;
      rows?: number;
      block?: number;
    } = {},
  ): Case<'x' | 'w' | 'bias' | 'add' | 'select' | 'y', 'block'> => {
    const { w = 'f32', share, rows = 1, block = 1 } = options;
    return {
      name: `[${T},${N}]x[${N},${E}] ${JSON.stringify(options)}`,
      operands: {
        x: random.numbers([T, N]),
        w: random.numbers([N, E], w),
        bias: options.bias ? random.numbers([E]) : undefined,
        add: options.add ? random.numbers([T, E]) : undefined,
        select: share === undefined ? undefined : random.selection(rows, N / block, share),
        y: output([T, E]),
      },
      params: { block },
      ...(isQuantized(w) && formatOf(w).bits === 4 && { tolerance: roundedFactors }),
      ...(isQuantized(w) && T >= 8 && rows === 1 && { tileTolerance }),
    };
  };
  return [
    make(1, 1, 1),
    make(1, 3, 7, { bias: true }),
    ...weightTypes.flatMap((w) => [
      make(1, 33, 64, { w, bias: true, add: true }),
      make(1, 130, 301, { w }),
      make(3, 17, 95, { w, bias: true }),
      make(2, 9, 1100, { w }),
      make(37, 51, 130, { w, add: true }),
      make(1, 40, 257, { w, share: 0, bias: true }),
      make(1, 40, 257, { w, share: 0.05, add: true }),
      make(1, 40, 257, { w, share: 1 }),
      make(1, 64, 48, { w, share: 0.5, block: 16 }),
      make(5, 64, 48, { w, share: 0.5, rows: 5, block: 16 }),
      make(5, 64, 48, { w, share: 0.5, rows: 1 }),
    ]),
    ...weightTypes
      .filter(isQuantized)
      .flatMap((w) => [
        make(9, 64, 48, { w, share: 0.5, rows: 9, block: 16 }),
        make(16, 95, 31, { w, bias: true }),
        make(8, 301, 64, { w, bias: true, add: true }),
        make(11, 200, 96, { w, share: 0.3, add: true }),
        make(16, 1300, 1056, { w, bias: true }),
        make(12, 64, 32, { w, share: 0.5, block: 16 }),
        make(8, 40, 256, { w, share: 0, bias: true }),
        make(17, 1063, 65, { w, add: true }),
        make(33, 600, 290, { w, share: 0.3, bias: true, add: true }),
        make(16, 130, 301, { w, share: 0.5, block: 10 }),
        make(8, 40, 257, { w, share: 0, bias: true }),
      ]),
  ];
});

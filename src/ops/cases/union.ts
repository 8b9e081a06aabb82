import { hostTensor } from '../../rows.ts';
import { casesOf, Inputs } from './inputs.ts';
import { unionOp, poolOp, blankOp } from '../union.ts';

export const union = casesOf(unionOp, () => {
  const random = new Inputs(60);
  return [
    [1, 1, 0],
    [1, 33, 0.5],
    [3, 1, 1],
    [4, 70, 0],
    [4, 70, 0.2],
    [7, 70, 2],
  ].map(([R = 0, N = 0, share = 0]) => ({
    name: `${R} rows of ${N}, share ${share}`,
    operands: {
      select: random.selection(R, N, share),
      shared: hostTensor('u32', [1, 1 + N]),
    },
    params: {},
  }));
});

export const pool = casesOf(poolOp, () => {
  const random = new Inputs(61);
  return [1, 2, 5].flatMap((R) =>
    [1, 37, 300].map((N) => ({
      name: `[${R},${N}]`,
      operands: { scores: random.numbers([R, N]), y: hostTensor('f32', [1, N]) },
      params: {},
    })),
  );
});

export const blank = casesOf(blankOp, () => {
  const random = new Inputs(62);
  return [0, 0.4, 2].flatMap((share) =>
    [1, 3].map((rows) => ({
      name: `[3,9,5] share ${share} rows ${rows}`,
      operands: { select: random.selection(rows, 9, share), x: random.numbers([3, 9, 5]) },
      params: {},
    })),
  );
});

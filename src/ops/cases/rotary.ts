import { casesOf, Inputs, output } from './inputs.ts';
import { rotaryAnglesOp, rotaryOp } from '../rotary.ts';

export const rotaryAngles = casesOf(rotaryAnglesOp, () => {
  const random = new Inputs(8);
  return [1, 9].map((F) => ({
    name: `F ${F}`,
    operands: {
      positions: random.integers([0, 1, 511, 1_000_003]),
      frequencies: random.numbers([F]),
      y: output([4, 2 * F]),
    },
    params: { scale: 1.25 },
  }));
});

export const rotary = casesOf(rotaryOp, () => {
  const random = new Inputs(9);
  return [
    [8, 8],
    [16, 4],
    [20, 10],
    [64, 64],
  ].map(([D = 0, R = 0]) => ({
    name: `D ${D} R ${R}`,
    operands: {
      x: random.numbers([3, 2, D]),
      angles: random.numbers([3, R]),
      y: output([3, 2, D]),
    },
    params: {},
  }));
});

import { casesOf, Inputs, output } from './inputs.ts';
import { addOp, multiplyOp, clampOp, magnitudeOp } from '../elementwise.ts';

export const add = casesOf(addOp, () => {
  const random = new Inputs(5);
  return [1, 37].map((E) => ({
    name: `[3,${E}]`,
    operands: { a: random.numbers([3, E]), b: random.numbers([3, E]), y: output([3, E]) },
    params: {},
  }));
});

export const multiply = casesOf(multiplyOp, () => {
  const random = new Inputs(6);
  return [undefined, 0, 0.3, 1].map((share) => ({
    name: `[3,37] share ${share}`,
    operands: {
      a: random.numbers([3, 37]),
      b: random.numbers([3, 37]),
      select: share === undefined ? undefined : random.selection(3, 37, share),
      y: output([3, 37]),
    },
    params: {},
  }));
});

export const clamp = casesOf(clampOp, () => {
  const random = new Inputs(12);
  return [1, 37].map((E) => ({
    name: `[3,${E}]`,
    operands: { x: random.numbers([3, E]), y: output([3, E]) },
    params: { limit: 0.25 },
  }));
});

export const magnitude = casesOf(magnitudeOp, () => {
  const random = new Inputs(7);
  return [1, 16, 21].map((D) => ({
    name: `[2,5,${D}]`,
    operands: {
      x: random.numbers([2, 5, D]),
      scale: D === 16 ? undefined : random.numbers([5]),
      y: output([2, 5]),
    },
    params: {},
  }));
});

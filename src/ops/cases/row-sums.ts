import { casesOf, Inputs, output } from './inputs.ts';
import { rowSumsOp } from '../row-sums.ts';

export const rowSums = casesOf(rowSumsOp, () => {
  const random = new Inputs(25);
  return [1, 37, 600].map((E) => ({
    name: `[5,${E}]`,
    operands: { x: random.numbers([5, E]), y: output([5]) },
    params: {},
  }));
});

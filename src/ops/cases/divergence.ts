import { casesOf, Inputs, output } from './inputs.ts';
import { divergenceOp } from '../divergence.ts';

export const divergence = casesOf(divergenceOp, () => {
  const random = new Inputs(26);
  return [1, 100, 333].map((V) => ({
    name: `[3,${V}]`,
    operands: {
      logits: random.numbers([3, V]),
      reference: random.numbers([3, V]),
      y: output([3]),
    },
    params: {},
  }));
});

import { casesOf, Inputs, output } from './inputs.ts';
import { crossEntropyOp } from '../cross-entropy.ts';

export const crossEntropy = casesOf(crossEntropyOp, () => {
  const random = new Inputs(15);
  return [1, 100, 333].map((V) => ({
    name: `[3,${V}]`,
    operands: {
      logits: random.numbers([3, V]),
      targets: random.integers([V - 1, -1, 0]),
      y: output([3]),
    },
    params: {},
  }));
});

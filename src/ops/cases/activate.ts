import { activationCode, activations } from '../activation.ts';
import { casesOf, Inputs, output } from './inputs.ts';
import { activateOp } from '../activate.ts';

export const activate = casesOf(activateOp, () => {
  const random = new Inputs(63);
  return activations.flatMap((activation) =>
    [1, 37, 300].map((N) => ({
      name: `[3,${N}] ${activation}`,
      operands: { x: random.numbers([3, N]), y: output([3, N]) },
      params: { activation: activationCode(activation) },
    })),
  );
});

import { casesOf, Inputs, output } from './inputs.ts';
import { normOp } from '../norm.ts';

export const norm = casesOf(normOp, () => {
  const random = new Inputs(4);
  return [1, 64, 133].flatMap((E) =>
    [0, 1].map((rms) => ({
      name: `[3,${E}] rms ${rms}`,
      operands: {
        x: random.numbers([3, E]),
        weight: rms ? random.numbers([E]) : E === 1 ? undefined : random.numbers([E]),
        bias: rms ? undefined : random.numbers([E]),
        y: output([3, E]),
      },
      params: { eps: 1e-5, rms },
    })),
  );
});

import { casesOf, Inputs, output } from './inputs.ts';
import { weightTypes } from '../shape.ts';
import { embedOp } from '../embed.ts';

export const embed = casesOf(embedOp, () => {
  const random = new Inputs(3);
  return weightTypes.flatMap((type) =>
    [0, 2].map((offset) => ({
      name: `${type} offset ${offset}`,
      operands: {
        table: random.numbers([19, 37], type),
        ids: random.integers([0, 16, 5, 5]),
        add: offset ? random.numbers([4, 37]) : undefined,
        y: output([4, 37]),
      },
      params: { offset },
    })),
  );
});

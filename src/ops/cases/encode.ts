import { hostTensor } from '../../rows.ts';
import { casesOf, Inputs } from './inputs.ts';
import { weightTypes } from '../shape.ts';
import { encodeOp } from '../encode.ts';

export const encode = casesOf(encodeOp, () => {
  const random = new Inputs(24);
  return weightTypes.flatMap((type) =>
    [1, 33, 100, 300].map((E) => ({
      name: `${type} [5,${E}]`,
      operands: { x: random.numbers([5, E]), y: hostTensor(type, [5, E]) },
      params: {},
      tolerance: 0,
    })),
  );
});

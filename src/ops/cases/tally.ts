import { hostTensor } from '../../rows.ts';
import { casesOf, Inputs } from './inputs.ts';
import { tallyOp } from '../tally.ts';

export const tally = casesOf(tallyOp, () => {
  const random = new Inputs(16);
  return [1, 4].map((group) => ({
    name: `group ${group}`,
    operands: {
      select: random.selection(2, 40, 0.4),
      counts: hostTensor('u32', [3]),
    },
    params: { at: 1, group },
  }));
});

import { u32 } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import type { Tensor } from '../tensor.ts';
import { bind, expectType } from './shape.ts';

/**
 * counts[at] = how many indices a selection holds, over all its rows; with `group` above 1, how many
 * distinct index / group. What the usage report is made of: one small tensor read after a step.
 */
export const tallyOp: Op<'select' | 'counts', 'at' | 'group'> = {
  name: 'tally',
  operands: ['select', 'counts'],
  writes: ['counts'],
  params: ['at', 'group'],
  check(t) {
    bind('tally', { select: 'R N', counts: 'M' }, t);
    expectType('tally', 'select', t.select, 'u32');
    expectType('tally', 'counts', t.counts, 'u32');
  },
  reference({ select, counts }, { at, group }) {
    const [R = 0, stride = 0] = select!.shape;
    const data = u32(select!);
    let total = 0;
    for (let r = 0; r < R; r++) {
      let last = -1;
      for (let i = 0; i < data[r * stride]; i++) {
        const unit = Math.floor(data[r * stride + 1 + i] / group);
        if (unit !== last) total++;
        last = unit;
      }
    }
    u32(counts!)[at] = total;
  },
};

/** Record the count of `select` [R, 1 + N] into counts[at]. */
export function tally(g: Recorder, select: Tensor, counts: Tensor, at: number, group = 1): void {
  g.record(tallyOp, { select, counts }, { at, group });
}

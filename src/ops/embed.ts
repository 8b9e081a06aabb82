import { f32, i32, rowReader } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import { rowBytes, type Tensor } from '../tensor.ts';
import { bind, expectType, weightTypes } from './shape.ts';

/** y[t] = add[t] + table[ids[t] + offset]: token or position embeddings. */
export const embedOp: Op<'table' | 'ids' | 'add' | 'y', 'offset'> = {
  name: 'embed',
  operands: ['table', 'ids', 'add', 'y'],
  writes: ['y'],
  params: ['offset'],

  check(t) {
    bind('embed', { table: 'V E', ids: 'T', 'add?': 'T E', y: 'T E' }, t);
    expectType('embed', 'table', t.table, ...weightTypes);
    expectType('embed', 'ids', t.ids, 'i32');
  },

  reads: ({ table, ids }) => [
    {
      role: table!.role,
      bytes: ids!.shape[0] * rowBytes(table!.dtype, table!.shape[1]),
      select: undefined,
    },
  ],

  reference({ table, ids, add, y }, { offset }) {
    const E = table!.shape[1];
    const [rows, out, residual] = [i32(ids!), f32(y!), add && f32(add)];
    const weights = rowReader(table!);
    const row = new Float32Array(E);
    rows.forEach((id, t) => {
      weights(id + offset, row);
      for (let e = 0; e < E; e++) out[t * E + e] = row[e] + (residual?.[t * E + e] ?? 0);
    });
  },
};

/** Record rows of `table` [V, E] for `ids` [T], plus `add` [T, E]; returns [T, E]. */
export function embed(
  g: Recorder,
  { table, ids, add, offset = 0 }: { table: Tensor; ids: Tensor; add?: Tensor; offset?: number },
): Tensor {
  const y = g.scratch('f32', [ids.shape[0], table.shape[1]]);
  g.record(embedOp, { table, ids, add, y }, { offset });
  return y;
}

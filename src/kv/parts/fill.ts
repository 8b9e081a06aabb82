import type { Backend } from '../../backend.ts';
import { hostTensor, rowWriter } from '../../rows.ts';
import type { Budget, KVPolicy } from '../../kv.ts';
import type { Ledger } from '../../ops/evict.ts';
import { budgetAt } from './budget.ts';
import { reshape, size, slice, type Tensor } from '../../tensor.ts';

/** Numbers in [0, 1). */
export type Random = () => number;

/** Random rows, made once and written again and again, from another one on: as fast as copying. */
export interface Block {
  readonly bytes: Uint8Array;
  readonly rows: number;
}

/** Elements of a block. */
const blockElements = 2 ** 20;

/** Rows as the cache [B, G, S, D] has them, of mean 0 and variance 1. */
export function randomBlock({ dtype, shape }: Tensor, random: Random): Block {
  const columns = shape[shape.length - 1];
  const rows = Math.max(1, Math.floor(blockElements / columns));
  const made = hostTensor(dtype, [rows, columns]);
  const write = rowWriter(made);
  const values = new Float32Array(columns);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < columns; i++) values[i] = (2 * random() - 1) * Math.sqrt(3);
    write(row, values);
  }
  return { bytes: made.bytes, rows };
}

/** Put rows of the block into the first `count` slots of each KV head of a text, in a cache [B, G, S, D]. */
export function fillRows(
  backend: Backend,
  cache: Tensor,
  { text, count }: { text: number; count: number },
  block: Block,
  random: Random,
): void {
  const [B, G, S, D] = cache.shape;
  const all = reshape(cache, [B * G * S, D]);
  const stride = block.bytes.length / block.rows;
  let from = Math.floor(random() * block.rows);
  for (let g = 0; g < G; g++)
    for (let done = 0, first = (text * G + g) * S; done < count;) {
      const rows = Math.min(count - done, block.rows - from);
      const bytes = block.bytes.subarray(from * stride, (from + rows) * stride);
      backend.write(slice(all, first + done, rows), bytes);
      done += rows;
      from = (from + rows) % block.rows;
    }
}

/**
 * Make the first `kept` slots of each KV head those of a text of `length` tokens: its first, its last, and
 * between them random ones of their own. Each has received what random attention gives while it was there.
 */
export function fillLedger(
  backend: Backend,
  { positions, ranks, scores, looks, chances }: Ledger,
  policy: KVPolicy,
  { layer, text, length, kept }: Filled,
  random: Random,
): void {
  const [, G, S] = positions.shape;
  const put = (column: Tensor, g: number, values: Int32Array | Float32Array): void =>
    backend.write(slice(reshape(column, [size(column.shape) / S, S]), text * G + g, 1), values);
  const score =
    policy.keeps === 'ranked' && policy.score.by === 'attention' ? policy.score : undefined;
  const { sums = false, slack = 0 } = score ?? {};
  for (let g = 0; g < G; g++) {
    const at = new Int32Array(S);
    at.set(keptPositions(budgetAt(policy, layer), length, kept, random));
    // Where scores begin anew with every eviction, they just have.
    const seen = at.map((position, s) =>
      s >= kept || slack > 0 ? 0 : sums ? length - position : 1,
    );
    put(positions, g, at);
    if (ranks)
      put(
        ranks,
        g,
        Int32Array.from({ length: S }, (_, s) => s),
      );
    put(
      scores,
      g,
      Float32Array.from(seen, (queries) => (2 * queries * random()) / kept),
    );
    put(looks, g, seen);
    put(chances, g, seen);
  }
}

/** A text of `length` tokens, `kept` of which are in the cache of a layer. */
interface Filled {
  readonly layer: number;
  readonly text: number;
  readonly length: number;
  readonly kept: number;
}

/** Ascending: the first, the last, and a random choice of those between (Knuth, algorithm S). */
function keptPositions(
  { sinks, recent }: Budget,
  length: number,
  kept: number,
  random: Random,
): number[] {
  const first = Math.min(sinks, kept);
  const last = Math.min(recent, kept - first);
  const chosen: number[] = [];
  for (let position = 0; position < length; position++) {
    const between = position >= first && position < length - last;
    const [wanted, left] = [kept - last - chosen.length, length - last - position];
    if (!between || random() * left < wanted) chosen.push(position);
  }
  return chosen;
}

import type { Backend } from '../../backend.ts';
import type { Layout } from '../../cache.ts';
import type { KVPolicy } from '../../kv.ts';
import type { Description } from '../../model.ts';
import type { CacheType } from '../../ops/attention.ts';
import { backlogRows } from '../../ops/backlog.ts';
import type { Ledger } from '../../ops/evict.ts';
import { byteLength, type Tensor } from '../../tensor.ts';
import { layoutOf } from './layout.ts';

export interface CacheShape {
  readonly layers: number;
  /** B */
  readonly sequences: number;
  /** G */
  readonly kvHeads: number;
  /** Tokens a text may have. */
  readonly capacity: number;
  /** D */
  readonly headDim: number;
  /** Type of keys and values. Default f32. */
  readonly type?: CacheType;
  /** E, where keys and values may be made later, of inputs that are kept. Absent: they are not. */
  readonly inputs?: number;
}

/** The cache `sequences` texts of up to `capacity` tokens need. */
export const cacheShape = (
  { layers, heads, kvHeads, headDim, hiddenSize }: Description,
  capacity: number,
  sequences = 1,
  type: CacheType = 'f32',
): CacheShape => ({
  ...{ layers, kvHeads, headDim, sequences, capacity, type },
  // Where heads share keys and values, making them later saves next to nothing.
  ...(kvHeads === heads ? { inputs: hiddenSize } : {}),
});

/** Bytes a cache of this shape takes at most, for planning. */
export function cacheBytes(policy: KVPolicy, shape: CacheShape): number {
  const { layers, sequences, kvHeads } = shape;
  const inputs = lateInputs(policy, shape);
  const behind = inputs
    ? byteLength('f32', [sequences, backlogRows, inputs]) + byteLength('i32', [sequences, kvHeads])
    : 0;
  return keptBytes(policy, shape) + layers * behind;
}

/** E, where keys and values of heads that were not chosen are made later: only where a slot is a position. */
export const lateInputs = (policy: KVPolicy, { inputs }: CacheShape): number | undefined =>
  policy.keeps === 'all' ? inputs : undefined;

/** Keys of scattered tokens whose positions shift lie un-rotated. */
export const turnsLate = (policy: KVPolicy): boolean =>
  policy.keeps === 'ranked' && policy.positions === 'compacted';

/** What one layer keeps: keys and values [B, G, S, D], and what is known of them where a score or a choice decides. */
export interface LayerMemory {
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly ledger: Ledger | undefined;
  /** f32 [B, G, P, columns] */
  readonly pages: Tensor | undefined;
}

type Place = (type: Tensor['dtype'], shape: readonly number[], role: 'kv' | 'state') => Tensor;

function layerOf(
  policy: KVPolicy,
  { sequences, kvHeads, headDim, type = 'f32' }: CacheShape,
  slots: number,
  place: Place,
): LayerMemory {
  const column = (dtype: 'i32' | 'f32'): Tensor =>
    place(dtype, [sequences, kvHeads, slots], 'state');
  const rows = (): Tensor => place(type, [sequences, kvHeads, slots, headDim], 'kv');
  return {
    keys: rows(),
    values: rows(),
    ledger:
      policy.keeps === 'ranked'
        ? {
            positions: column('i32'),
            ranks: turnsLate(policy) ? column('i32') : undefined,
            scores: column('f32'),
            looks: column('i32'),
            chances: column('i32'),
          }
        : undefined,
    pages:
      policy.keeps === 'chosen'
        ? place(
            'f32',
            [
              ...[sequences, kvHeads, Math.ceil(slots / policy.choice.page)],
              policy.choice.columns(headDim),
            ],
            'state',
          )
        : undefined,
  };
}

const tensorsOf = ({ keys, values, ledger, pages }: LayerMemory): Tensor[] => {
  const columns = Object.values(ledger ?? {}) as (Tensor | undefined)[];
  return [keys, values, pages, ...columns].filter((tensor) => tensor !== undefined);
};

/** Keys, values and what is known of them, in bytes; what is allocated later for heads that catch up apart. */
export function keptBytes(policy: KVPolicy, shape: CacheShape): number {
  const { groups, slots } = layoutOf(policy, shape.capacity, shape.layers);
  const bytes = slots.map((count) => {
    let sum = 0;
    const add: Place = (dtype, size, role) => {
      sum += byteLength(dtype, size);
      return { dtype, shape: size, role, storage: undefined, byteOffset: 0 };
    };
    layerOf(policy, shape, count, add);
    return sum;
  });
  return groups.reduce((sum, group) => sum + bytes[group], 0);
}

/** Memory of every layer; whoever allocated it frees it. */
export class Memory implements Disposable {
  readonly layers: readonly LayerMemory[];
  readonly #backend: Backend;

  constructor(backend: Backend, policy: KVPolicy, shape: CacheShape, layout: Layout) {
    this.#backend = backend;
    this.layers = layout.groups.map((group) =>
      layerOf(policy, shape, layout.slots[group], (dtype, size, role) =>
        backend.allocate(dtype, size, role),
      ),
    );
  }

  [Symbol.dispose](): void {
    for (const layer of this.layers)
      for (const tensor of tensorsOf(layer)) this.#backend.free(tensor);
  }
}

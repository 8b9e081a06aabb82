import type { Backend } from '../backend.ts';
import type { Cache, KVPolicy, Rotation, StepRows } from '../kv.ts';
import { attention, store } from '../ops/attention.ts';
import { rotary, rotaryAngles } from '../ops/rotary.ts';
import type { Recorder } from '../program.ts';
import { asOperand } from '../sparsity.ts';
import { byteLength, type Tensor } from '../tensor.ts';

export interface CacheShape {
  readonly layers: number;
  /** B */
  readonly sequences: number;
  /** G */
  readonly kvHeads: number;
  /** S */
  readonly capacity: number;
  /** D */
  readonly headDim: number;
}

/** Bytes a cache of this shape takes, for planning. */
export const cacheBytes = ({ layers, sequences, kvHeads, capacity, headDim }: CacheShape): number =>
  2 * layers * byteLength('f32', [sequences, kvHeads, capacity, headDim]);

/** Allocate a cache, f32, keys and values [B, G, S, D] a layer; a token's slot is its position. */
export function createCache(
  backend: Backend,
  policy: KVPolicy,
  shape: CacheShape,
): Cache & Disposable {
  const { layers, sequences, kvHeads, capacity, headDim } = shape;
  const allocate = (): Tensor =>
    backend.allocate('f32', [sequences, kvHeads, capacity, headDim], 'kv');
  const memory = Array.from({ length: layers }, () => ({ keys: allocate(), values: allocate() }));

  return {
    policy,
    capacity,
    residentBytes: cacheBytes(shape),

    begin(g: Recorder, rows: StepRows) {
      const angles = new Map<Tensor, Tensor>();
      const rotated = (x: Tensor, rotation: Rotation | undefined): Tensor => {
        if (!rotation) return x;
        const { frequencies, scale } = rotation;
        let table = angles.get(frequencies);
        if (!table) {
          table = rotaryAngles(g, rows.positions, frequencies, scale);
          angles.set(frequencies, table);
        }
        return rotary(g, x, table);
      };
      const at = { sequences: rows.sequences, slots: rows.positions };

      return {
        store(layer, k, v, rotation) {
          const { keys, values } = memory[layer];
          store(g, { x: rotated(k, rotation), cache: keys, ...at });
          store(g, { x: v, cache: values, ...at });
        },
        attend(layer, q, { rotation, heads, scale, slopes, window }) {
          const { keys, values } = memory[layer];
          const operands = {
            q: rotated(q, rotation),
            keys,
            values,
            select: asOperand(heads),
            slopes,
            ...at,
          };
          return attention(g, operands, { scale, window });
        },
      };
    },

    [Symbol.dispose]() {
      for (const { keys, values } of memory) {
        backend.free(keys);
        backend.free(values);
      }
    },
  };
}

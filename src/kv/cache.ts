import type { Backend } from '../backend.ts';
import type { Cache, CacheStep, KVPolicy, Rotation, Source, StepRows } from '../kv.ts';
import { attention, store } from '../ops/attention.ts';
import { backlog, backlogRows, keepInput, recent } from '../ops/backlog.ts';
import { storeMissing } from '../ops/missing.ts';
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
  /** E, where keys and values may be made later, of inputs that are kept. Absent: they are not. */
  readonly inputs?: number;
}

/** Bytes a cache of this shape takes at most, for planning. */
export function cacheBytes(shape: CacheShape): number {
  const { layers, sequences, kvHeads, inputs } = shape;
  const behind = inputs
    ? byteLength('f32', [sequences, backlogRows, inputs]) + byteLength('i32', [sequences, kvHeads])
    : 0;
  return keptBytes(shape) + layers * behind;
}

const keptBytes = ({ layers, sequences, kvHeads, capacity, headDim }: CacheShape): number =>
  2 * layers * byteLength('f32', [sequences, kvHeads, capacity, headDim]);

/** What a layer needs to make keys and values later; allocated when a step first does. */
interface Later {
  /** [B, P, E] */
  readonly ring: Tensor;
  /** i32 [B, G]: as `backlog` has it. */
  readonly known: Tensor;
}

/**
 * Allocate a cache, f32, keys and values [B, G, S, D] a layer; a token's slot is its position.
 *
 * Where the shape has `inputs`, steps of one row may store keys and values of chosen heads alone: of each
 * text the last P inputs of the layer are kept, and a head that is chosen again, or has missed P tokens,
 * gets all that it misses at once, for one reading of its weights (Deja Vu, arXiv 2310.17157).
 */
export function createCache(
  backend: Backend,
  policy: KVPolicy,
  shape: CacheShape,
): Cache & Disposable {
  const { layers, sequences, kvHeads, capacity, headDim, inputs } = shape;
  const allocate = (): Tensor =>
    backend.allocate('f32', [sequences, kvHeads, capacity, headDim], 'kv');
  const memory = Array.from({ length: layers }, () => ({ keys: allocate(), values: allocate() }));
  const later = new Map<number, Later>();
  const laterOf = (layer: number, { x }: Source): Later => {
    const known = later.get(layer);
    if (known) return known;
    const made = {
      ring: backend.allocate(x.dtype, [sequences, backlogRows, x.shape[1]], 'state'),
      known: backend.allocate('i32', [sequences, kvHeads], 'state'),
    };
    later.set(layer, made);
    return made;
  };

  return {
    policy,
    capacity,
    get residentBytes() {
      const rings = [...later.values()].flatMap(({ ring, known }) => [ring, known]);
      return rings.reduce(
        (sum, { dtype, shape }) => sum + byteLength(dtype, shape),
        keptBytes(shape),
      );
    },

    begin(g: Recorder, rows: StepRows): CacheStep {
      const { sequences, positions, complete } = rows;
      const anglesAt = angles(g, () => positions);
      const rotated = (x: Tensor, rotation: Rotation | undefined): Tensor =>
        rotation ? rotary(g, x, anglesAt(rotation)) : x;
      const at = { sequences, slots: positions };

      /** Record that heads catch up, `heads` or all; `fresh`: this row's token is new to them. */
      const catchingUp = (on: Recorder, fresh: boolean) => {
        const ringAngles = angles(on, () => recent(on, positions));
        return (layer: number, heads: Tensor | undefined, source: Source): void => {
          const { ring, known } = later.get(layer)!;
          const gaps = backlog(on, { ...rows, select: heads, complete: complete!, known, fresh });
          const { k, v } = source.make(on, { ring, ...gaps });
          const { keys, values } = memory[layer];
          const turn = source.rotation && ringAngles(source.rotation);
          storeMissing(on, { x: k, angles: turn, ...gaps, cache: keys });
          storeMissing(on, { x: v, angles: undefined, ...gaps, cache: values });
        };
      };
      const catchUp = catchingUp(g, true);
      const left = new Map<number, Source>();
      const storeFor = (layer: number, heads: Tensor, source: Source): void => {
        left.set(layer, source);
        keepInput(g, { x: source.x, sequences, positions, ring: laterOf(layer, source).ring });
        catchUp(layer, heads, source);
      };

      return {
        ...(inputs && complete && positions.shape[0] === 1 ? { storeFor } : {}),
        settling() {
          if (left.size === 0) return undefined;
          return (on) => {
            const catchUpAll = catchingUp(on, false);
            for (const [layer, source] of left) catchUpAll(layer, undefined, source);
          };
        },
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
      for (const { ring, known } of later.values()) {
        backend.free(ring);
        backend.free(known);
      }
    },
  };
}

/** Angles of positions by their rotation, recorded when first asked for, once a step. */
function angles(g: Recorder, positions: () => Tensor): (rotation: Rotation) => Tensor {
  const tables = new Map<Tensor, Tensor>();
  let places: Tensor | undefined;
  return ({ frequencies, scale }) => {
    places ??= positions();
    const table = tables.get(frequencies) ?? rotaryAngles(g, places, frequencies, scale);
    tables.set(frequencies, table);
    return table;
  };
}

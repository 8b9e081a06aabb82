import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import type {
  AttendOptions,
  Cache,
  CacheStep,
  KVPolicy,
  Rotation,
  Source,
  StepRows,
} from '../kv.ts';
import { attention, type CacheType, store } from '../ops/attention.ts';
import { backlog, backlogRows, keepInput, recent } from '../ops/backlog.ts';
import { enter, evict, type Ledger, observe } from '../ops/evict.ts';
import { storeMissing } from '../ops/missing.ts';
import { rotary, rotaryAngles, rotaryAnglesInto } from '../ops/rotary.ts';
import type { Recorder } from '../program.ts';
import { asOperand } from '../selector.ts';
import { byteLength, type Tensor } from '../tensor.ts';
import { budgetOf } from './parts/budget.ts';
import { type Block, fillLedger, fillRows, randomBlock } from './parts/fill.ts';
import { layoutOf } from './parts/layout.ts';

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

/** Bytes a cache of this shape takes at most, for planning. */
export function cacheBytes(policy: KVPolicy, shape: CacheShape): number {
  const { layers, sequences, kvHeads } = shape;
  const inputs = later(policy, shape);
  const behind = inputs
    ? byteLength('f32', [sequences, backlogRows, inputs]) + byteLength('i32', [sequences, kvHeads])
    : 0;
  return keptBytes(policy, shape) + layers * behind;
}

/** Elements of the inputs that are kept, where keys and values are made later. */
const later = (policy: KVPolicy, { inputs }: CacheShape): number | undefined =>
  policy.recent === Infinity ? inputs : undefined;

function keptBytes(policy: KVPolicy, shape: CacheShape): number {
  const { layers, sequences, kvHeads, capacity, headDim, type = 'f32' } = shape;
  const slots = [sequences, kvHeads, layoutOf(policy, capacity).slots];
  const columns = policy.score ? (policy.positions === 'compacted' ? 5 : 4) : 0;
  return layers * (2 * byteLength(type, [...slots, headDim]) + columns * byteLength('i32', slots));
}

/** What a layer needs to make keys and values later; allocated when a step first does. */
interface Later {
  /** [B, P, E] */
  readonly ring: Tensor;
  /** i32 [B, G]: as `backlog` has it. */
  readonly known: Tensor;
}

/** What one layer keeps: keys and values [B, G, S, D], and what is known of them where a score decides. */
interface Layer {
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly ledger: Ledger | undefined;
}

/**
 * Allocate a cache: keys and values [B, G, S, D] a layer, S being the slots of the policy's layout.
 *
 * Where the policy never evicts and the shape has `inputs`, steps of one row may store keys and values of
 * chosen heads alone: of each text the last P inputs of the layer are kept, and a head that is chosen again, or
 * has missed P tokens, gets all that it misses at once, for one reading of its weights (Deja Vu, arXiv 2310.17157).
 */
export function createCache(
  backend: Backend,
  policy: KVPolicy,
  shape: CacheShape,
): Cache & Disposable {
  const { layers, sequences, kvHeads, capacity, headDim, type = 'f32' } = shape;
  const inputs = later(policy, shape);
  const layout = layoutOf(policy, capacity);
  const { slots } = layout;
  const { score, sinks } = policy;
  const budget = budgetOf(policy);
  /** Queries of a step that count, as ops take it: 0 for all. */
  const latest = score && Number.isFinite(score.queries) ? score.queries : 0;
  /** Keys of scattered tokens whose positions shift lie un-rotated. */
  const turnsLate = score !== undefined && policy.positions === 'compacted';
  const column = (dtype: 'i32' | 'f32'): Tensor =>
    backend.allocate(dtype, [sequences, kvHeads, slots], 'state');
  const allocate = (): Tensor => backend.allocate(type, [sequences, kvHeads, slots, headDim], 'kv');
  const memory: Layer[] = Array.from({ length: layers }, () => ({
    keys: allocate(),
    values: allocate(),
    ledger: score && {
      positions: column('i32'),
      ranks: turnsLate ? column('i32') : undefined,
      scores: column('f32'),
      looks: column('i32'),
      chances: column('i32'),
    },
  }));
  const rings = new Map<number, Later>();
  const laterOf = (layer: number, { x }: Source): Later => {
    const known = rings.get(layer);
    if (known) return known;
    const made = {
      ring: backend.allocate(x.dtype, [sequences, backlogRows, x.shape[1]], 'state'),
      known: backend.allocate('i32', [sequences, kvHeads], 'state'),
    };
    rings.set(layer, made);
    return made;
  };
  /** Angles [S, R] of all places, by frequencies; those not yet computed; the places themselves. */
  const tables = new Map<Tensor, Tensor>();
  const empty: Rotation[] = [];
  let everyPlace: Tensor | undefined;
  let block: Block | undefined;
  const ring = score || policy.recent === Infinity ? {} : { sinks, recent: policy.recent };

  return {
    policy,
    layout,
    get residentBytes() {
      const inputsKept = [...rings.values()].flatMap(({ ring, known }) => [ring, known]);
      return inputsKept.reduce(
        (sum, { dtype, shape }) => sum + byteLength(dtype, shape),
        keptBytes(policy, shape),
      );
    },

    begin(g: Recorder, rows: StepRows): CacheStep {
      const { sequences, positions, slots: at, places, complete } = rows;
      const cached = { sequences, slots: at };
      const anglesAt = angles(g, () => (turnsLate ? places : positions));
      const anglesInCache = angles(g, () => places);
      const rotated = (x: Tensor, by: typeof anglesAt, rotation: Rotation | undefined): Tensor =>
        rotation ? rotary(g, x, by(rotation)) : x;
      const tableOf = (rotation: Rotation): Tensor => {
        const { frequencies } = rotation;
        const known = tables.get(frequencies);
        if (known) return known;
        const table = backend.allocate('f32', [slots, 2 * frequencies.shape[0]], 'state');
        tables.set(frequencies, table);
        empty.push(rotation);
        return table;
      };

      /** Record that heads catch up, `heads` or all; `fresh`: this row's token is new to them. */
      const catchingUp = (on: Recorder, fresh: boolean) => {
        const ringAngles = angles(on, () => recent(on, positions));
        return (layer: number, heads: Tensor | undefined, source: Source): void => {
          const { ring, known } = rings.get(layer)!;
          const gaps = backlog(on, {
            ...{ sequences, positions, complete: complete!, known, fresh },
            select: heads,
          });
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

      /** Record what tokens received, and that those go which are worth the least. */
      const judge = (
        { keys, values, ledger }: Layer,
        received: Tensor,
        { heads }: AttendOptions,
      ): void => {
        const { of, sums, pool, slack } = score!;
        const looked = { received, ...cached, select: asOperand(heads), ledger: ledger! };
        observe(g, looked, { latest, layer: of === 'layer', fresh: !sums });
        evict(g, { ...cached, keys, values }, ledger!, {
          ...{ sinks, recent: policy.recent, budget, slack, pool },
          forget: slack > 0,
        });
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
        preparing() {
          if (empty.length === 0) return undefined;
          if (!everyPlace) {
            everyPlace = backend.allocate('i32', [slots], 'state');
            backend.write(
              everyPlace,
              Int32Array.from({ length: slots }, (_, place) => place),
            );
          }
          const of = everyPlace;
          return (on) => {
            for (const { frequencies, scale } of empty.splice(0))
              rotaryAnglesInto(
                on,
                { positions: of, frequencies, y: tables.get(frequencies)! },
                scale,
              );
          };
        },
        store(layer, k, v, rotation) {
          const { keys, values, ledger } = memory[layer];
          if (ledger) enter(g, { ...cached, at: positions }, ledger);
          const turned = turnsLate ? k : rotated(k, anglesAt, rotation);
          store(g, { x: turned, cache: keys, ...cached }, sinks);
          store(g, { x: v, cache: values, ...cached }, sinks);
        },
        attend(layer, q, options) {
          const { rotation, heads, scale, slopes, window, look = false } = options;
          const { keys, values, ledger } = memory[layer];
          const judged = ledger && !look;
          const received = judged
            ? g.scratch('f32', [shape.sequences, q.shape[1], slots])
            : undefined;
          const operands = {
            q: rotated(q, anglesAt, rotation),
            ...{ keys, values, select: asOperand(heads), slopes, received, ...cached },
            places: ledger && (turnsLate || slopes || window ? placesIn(ledger) : undefined),
            angles: turnsLate && rotation ? tableOf(rotation) : undefined,
            sinkQ: ring.sinks && rotation ? rotated(q, anglesInCache, rotation) : undefined,
          };
          const y = attention(g, operands, { scale, window, ...ring, latest });
          if (received) judge(memory[layer], received, options);
          return y;
        },
      };
    },

    async positions(layer, head, text, length, kept) {
      const { ledger } = memory[layer];
      if (head >= kvHeads || text >= sequences)
        throw new EngineError('INTERNAL', `there is no KV head ${head} of text ${text}`);
      if (!ledger)
        return Array.from({ length: kept }, (_, i) => (i < sinks ? i : length - kept + i));
      const all = new Int32Array((await backend.read([ledger.positions]))[0].buffer);
      const first = (text * kvHeads + head) * slots;
      return Array.from(all.subarray(first, first + kept)).sort((a, b) => a - b);
    },

    fill(text, length, kept, random) {
      const count = Math.min(length, slots);
      for (const { keys, values, ledger } of memory) {
        block ??= randomBlock(keys, random);
        for (const tensor of [keys, values])
          fillRows(backend, tensor, { text, count }, block, random);
        if (ledger) fillLedger(backend, ledger, policy, { text, length, kept }, random);
      }
    },

    [Symbol.dispose]() {
      for (const { keys, values, ledger } of memory)
        for (const tensor of [keys, values, ...columnsOf(ledger)]) backend.free(tensor);
      for (const { ring, known } of rings.values()) {
        backend.free(ring);
        backend.free(known);
      }
      for (const table of tables.values()) backend.free(table);
      if (everyPlace) backend.free(everyPlace);
    },
  };
}

const columnsOf = (ledger: Ledger | undefined): Tensor[] => {
  if (!ledger) return [];
  const { positions, ranks, scores, looks, chances } = ledger;
  return [positions, scores, looks, chances, ...(ranks ? [ranks] : [])];
};

const placesIn = ({ ranks, positions }: Ledger): Tensor => ranks ?? positions;

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

import { EngineError } from '../errors.ts';
import { f32, i32, rowReader, rowWriter } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import { rowBytes, type Tensor } from '../tensor.ts';
import { turn } from './rotary.ts';
import { selected } from './selection.ts';
import { bind, expectSelection, expectType } from './shape.ts';

/**
 * cache[sequences[t], g, slot] = x[t, g] in the cache's own type: keys or values of this step. The slot is
 * slots[t]; those past the last come around to slot `sinks`.
 */
export const storeOp: Op<'x' | 'sequences' | 'slots' | 'cache', 'sinks'> = {
  name: 'store',
  operands: ['x', 'sequences', 'slots', 'cache'],
  writes: ['cache'],
  params: ['sinks'],
  check(t) {
    bind('store', { x: 'T G D', sequences: 'T', slots: 'T', cache: 'B G S D' }, t);
    expectType('store', 'cache', t.cache, ...cacheTypes);
    expectType('store', 'sequences', t.sequences, 'i32');
    expectType('store', 'slots', t.slots, 'i32');
  },
  reads: () => [],
  reference({ x, sequences, slots, cache }, { sinks }) {
    const [T = 0, G = 0, D = 0] = x!.shape;
    const S = cache!.shape[2];
    const [input, row, slot, write] = [f32(x!), i32(sequences!), i32(slots!), rowWriter(cache!)];
    for (let t = 0; t < T; t++)
      for (let g = 0; g < G; g++) {
        const from = (t * G + g) * D;
        write((row[t] * G + g) * S + around(slot[t], sinks, S), input.subarray(from, from + D));
      }
  },
};

/** Types that keys and values may have in memory. */
export const cacheTypes = ['f32', 'f16', 'int8'] as const;
/** A type that keys and values may have in the cache. */
export type CacheType = (typeof cacheTypes)[number];

/** The slot of S that `slot` comes to where those from `sinks` on are a ring. */
const around = (slot: number, sinks: number, S: number): number =>
  slot < S ? slot : sinks + ((slot - sinks) % (S - sinks));

/** Record the storing of x [T, G, D] in cache [B, G, S, D]; `sinks`: where slots past the last begin again. */
export function store(
  g: Recorder,
  operands: { x: Tensor; sequences: Tensor; slots: Tensor; cache: Tensor },
  sinks = 0,
): void {
  g.record(storeOp, operands, { sinks });
}

/** Operands of `attention`, and its parameters. */
export type AttentionOperand =
  | ('q' | 'keys' | 'values' | 'sequences' | 'slots' | 'select' | 'slopes' | 'places' | 'angles')
  | ('sinkQ' | 'y' | 'received');
export type AttentionParam = 'scale' | 'window' | 'sinks' | 'recent' | 'latest';

/**
 * y[t, h] = Σ_s w[t, h, s] values[s], where w is the softmax over s of
 * scale · q[t, h] · keys[s] + slopes[h] · (place of s − place of the row), s being the slots of the row's
 * own text that it sees. Heads share KV heads in groups of H / G. Heads not selected are not computed, and
 * their y is not written.
 *
 * - **Seen** are slots 0 … slots[t]: what was stored before the row, and itself. With `recent` above 0 the
 *   slots from `sinks` on are a ring, as `store` has it, and a row sees the slots below `sinks` and, up to
 *   its own, the last `recent` others.
 * - **Place** of a slot is places[., g, s], where there are places; else how many of the seen ones come before
 *   it (of a ring: were stored before it). A row's place is that of its own slot.
 * - `window` above 0: slots that are as many places away are not seen.
 * - `slopes` are those of ALiBi (arXiv 2108.12409); absent, nearness counts for nothing.
 * - `angles` [P, R]: keys lie un-rotated; each is turned by the angles of its place, as `rotary` does.
 * - `sinkQ` [T, H, D]: queries in place of q for the slots below `sinks`. One rotated by the row's place in
 *   the cache, the other by that in the text, they see a ring of keys by places in the cache though each key
 *   was rotated once (StreamingLLM, arXiv 2309.17453, without turning keys again).
 * - `received` [B, H, S] gets Σ_t w[t, h, s] over the last `latest` rows of each text (0: all), for slots up
 *   to the last row's: H2O's column sums (arXiv 2306.14048), without a matrix of all rows by all slots. Rows
 *   of one text must be neighbours. No ring gives it.
 */
export const attentionOp: Op<AttentionOperand, AttentionParam> = {
  name: 'attention',
  operands: [
    ...(['q', 'keys', 'values', 'sequences', 'slots', 'select', 'slopes', 'places'] as const),
    ...(['angles', 'sinkQ', 'y', 'received'] as const),
  ],
  writes: ['y', 'received'],
  params: ['scale', 'window', 'sinks', 'recent', 'latest'],

  check(t, { recent, sinks }) {
    const {
      T = 0,
      H = 0,
      S = 0,
    } = bind(
      'attention',
      {
        q: 'T H D',
        keys: 'B G S D',
        values: 'B G S D',
        sequences: 'T',
        slots: 'T',
        'slopes?': 'H',
        'places?': 'B G S',
        'angles?': 'P R',
        'sinkQ?': 'T H D',
        y: 'T H D',
        'received?': 'B H S',
      },
      t,
    );
    expectSelection('attention', t.select, T, H);
    expectType('attention', 'keys', t.keys, ...cacheTypes);
    expectType('attention', 'values', t.values, t.keys!.dtype);
    for (const name of ['sequences', 'slots', 'places'] as const)
      expectType('attention', name, t[name], 'i32');
    if (recent > 0 ? t.places || t.received || sinks + recent > S : t.sinkQ)
      throw new EngineError(
        'BAD_SHAPE',
        `attention: ${recent} recent and ${sinks} first of ${S} slots with ${Object.keys(t).join(', ')}; expected a ring within the slots, without places and received; or no ring and no sinkQ`,
      );
  },

  /** Keys and values of each KV head that serves a selected head. */
  reads({ q, keys, select, slots }, { window, sinks, recent }) {
    const [, H = 0, D = 0] = q!.shape;
    const G = keys!.shape[1];
    const bytes = 2 * rowBytes(keys!.dtype, D) * (select ? 1 : G);
    const most = Math.min(window || Infinity, recent ? sinks + recent : Infinity);
    return [{ role: 'kv', bytes, select, group: H / G, perSlot: { slots: slots!, most } }];
  },

  reference(t, { scale, window, sinks, recent, latest }) {
    const [T = 0, H = 0, D = 0] = t.q!.shape;
    const [, G = 1, S = 0] = t.keys!.shape;
    const [query, out] = [f32(t.q!), f32(t.y!)];
    const [readKey, readValue] = [rowReader(t.keys!), rowReader(t.values!)];
    const [row, slots] = [i32(t.sequences!), i32(t.slots!)];
    const [places, slope] = [t.places && i32(t.places), t.slopes && f32(t.slopes)];
    const [sinkQuery, received] = [t.sinkQ && f32(t.sinkQ), t.received && f32(t.received)];
    const [key, value] = [new Float32Array(D), new Float32Array(D)];
    for (let row0 = 0, row1 = 0; row0 < T; row0 = row1) {
      while (row1 < T && row[row1] === row[row0]) row1++;
      const counted = latest ? Math.max(row0, row1 - latest) : row0;
      for (let h = 0; received && h < H; h++) {
        const start = (row[row0] * H + h) * S;
        received.fill(0, start, start + slots[row1 - 1] + 1);
      }
      for (let t1 = row0; t1 < row1; t1++)
        for (const h of selected(t.select, t1, H)) {
          const first = (row[t1] * G + Math.floor(h / (H / G))) * S;
          const seen = seenSlots(slots[t1], S, sinks, recent);
          const placeOf = (i: number): number => (places ? places[first + seen[i]] : i);
          const own = placeOf(seen.length - 1);
          const logits = seen.map((s, i) => {
            const away = placeOf(i) - own;
            if (window && -away >= window) return -Infinity;
            readKey(first + s, key);
            if (t.angles) turn(key, f32(t.angles), placeOf(i), t.angles.shape[1]);
            const q = sinkQuery && s < sinks ? sinkQuery : query;
            let dot = 0;
            for (let d = 0; d < D; d++) dot += q[(t1 * H + h) * D + d] * key[d];
            return dot * scale + (slope ? slope[h] * away : 0);
          });
          const peak = logits.reduce((a, b) => Math.max(a, b), -Infinity);
          const weights = logits.map((logit) => Math.exp(logit - peak));
          const total = weights.reduce((a, b) => a + b, 0);
          const sums = new Float64Array(D);
          seen.forEach((s, i) => {
            readValue(first + s, value);
            for (let d = 0; d < D; d++) sums[d] += weights[i] * value[d];
            if (received && t1 >= counted)
              received[(row[t1] * H + h) * S + s] += weights[i] / total;
          });
          for (let d = 0; d < D; d++) out[(t1 * H + h) * D + d] = sums[d] / total;
        }
    }
  },
};

/** Slots a row sees, those stored first first. */
function seenSlots(slot: number, S: number, sinks: number, recent: number): number[] {
  const begin = recent ? Math.max(sinks, slot + 1 - recent) : 0;
  const seen = Array.from({ length: recent ? Math.min(sinks, slot + 1) : 0 }, (_, s) => s);
  for (let s = begin; s <= slot; s++) seen.push(around(s, sinks, S));
  return seen;
}

export interface AttentionInput {
  readonly q: Tensor;
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly sequences: Tensor;
  readonly slots: Tensor;
  readonly select?: Tensor | undefined;
  readonly slopes?: Tensor | undefined;
  readonly places?: Tensor | undefined;
  readonly angles?: Tensor | undefined;
  readonly sinkQ?: Tensor | undefined;
  readonly received?: Tensor | undefined;
}

export interface AttentionParams {
  readonly scale: number;
  readonly window?: number | undefined;
  readonly sinks?: number | undefined;
  readonly recent?: number | undefined;
  readonly latest?: number | undefined;
}

/** Record attention of q [T, H, D] over one layer's cache; returns [T, H, D]. Numbers left out are 0. */
export function attention(g: Recorder, operands: AttentionInput, params: AttentionParams): Tensor {
  const { scale, window = 0, sinks = 0, recent = 0, latest = 0 } = params;
  const y = g.scratch('f32', operands.q.shape);
  g.record(attentionOp, { ...operands, y }, { scale, window, sinks, recent, latest });
  return y;
}

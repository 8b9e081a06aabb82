import { f32, i32 } from '../host.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import type { Tensor } from '../tensor.ts';
import { Inputs, output } from './cases.ts';
import { selected } from './selection.ts';
import { bind, expectSelection, expectType } from './shape.ts';

/** cache[sequences[t], g, slots[t]] = x[t, g]: keys or values of this step into their slots. */
export const storeOp: Op<'x' | 'sequences' | 'slots' | 'cache', never> = {
  name: 'store',
  operands: ['x', 'sequences', 'slots', 'cache'],
  writes: ['cache'],
  params: [],
  check(t) {
    bind('store', { x: 'T G D', sequences: 'T', slots: 'T', cache: 'B G S D' }, t);
    expectType('store', 'sequences', t.sequences, 'i32');
    expectType('store', 'slots', t.slots, 'i32');
  },
  reads: () => [],
  reference({ x, sequences, slots, cache }) {
    const [T = 0, G = 0, D = 0] = x!.shape;
    const S = cache!.shape[2];
    const [input, row, slot, out] = [f32(x!), i32(sequences!), i32(slots!), f32(cache!)];
    for (let t = 0; t < T; t++)
      for (let g = 0; g < G; g++) {
        const from = (t * G + g) * D;
        out.set(input.subarray(from, from + D), ((row[t] * G + g) * S + slot[t]) * D);
      }
  },
  cases() {
    const random = new Inputs(10);
    return [
      {
        name: '[3,2,5] into [2,2,7,5]',
        operands: {
          x: random.numbers([3, 2, 5]),
          sequences: random.integers([0, 1, 0]),
          slots: random.integers([6, 0, 2]),
          cache: output([2, 2, 7, 5]),
        },
        params: {},
      },
    ];
  },
};

/** Record the storing of x [T, G, D] in cache [B, G, S, D]. */
export function store(
  g: Recorder,
  operands: { x: Tensor; sequences: Tensor; slots: Tensor; cache: Tensor },
): void {
  g.record(storeOp, operands, {});
}

/**
 * y[t, h] = Σ_s softmax_s(scale · q[t, h] · keys[s] + slopes[h] · (s - slots[t])) values[s], over slots
 * 0 … slots[t] of the row's own sequence: a row sees what was stored before it and itself. With a
 * `window` above 0 it sees the last `window` of them, itself included, and the rest is not read.
 *
 * Slopes are those of ALiBi (arXiv 2108.12409); absent, nearness counts for nothing. Heads share KV
 * heads in groups of H / G. Heads not selected are not computed, and their y is not written.
 */
export const attentionOp: Op<
  'q' | 'keys' | 'values' | 'sequences' | 'slots' | 'select' | 'slopes' | 'y',
  'scale' | 'window'
> = {
  name: 'attention',
  operands: ['q', 'keys', 'values', 'sequences', 'slots', 'select', 'slopes', 'y'],
  writes: ['y'],
  params: ['scale', 'window'],

  check(t) {
    const { T = 0, H = 0 } = bind(
      'attention',
      {
        q: 'T H D',
        keys: 'B G S D',
        values: 'B G S D',
        sequences: 'T',
        slots: 'T',
        'slopes?': 'H',
        y: 'T H D',
      },
      t,
    );
    expectSelection('attention', t.select, T, H);
    expectType('attention', 'sequences', t.sequences, 'i32');
    expectType('attention', 'slots', t.slots, 'i32');
  },

  /** Keys and values of each KV head that serves a selected head. */
  reads({ q, keys, select }, { window }) {
    const [, H = 0, D = 0] = q!.shape;
    const G = keys!.shape[1];
    const bytes = 2 * 4 * D * (select ? 1 : G);
    return [{ role: 'kv', bytes, select, group: H / G, perSlot: window || Infinity }];
  },

  reference({ q, keys, values, sequences, slots, select, slopes, y }, { scale, window }) {
    const [T = 0, H = 0, D = 0] = q!.shape;
    const [, G = 1, S = 0] = keys!.shape;
    const [query, k, v, out] = [f32(q!), f32(keys!), f32(values!), f32(y!)];
    const [row, slot, slope] = [i32(sequences!), i32(slots!), slopes && f32(slopes)];
    for (let t = 0; t < T; t++) {
      const end = slot[t] + 1;
      const begin = window ? Math.max(0, end - window) : 0;
      for (const h of selected(select, t, H)) {
        const head = (row[t] * G + Math.floor(h / (H / G))) * S * D;
        const weights = new Float64Array(end);
        let peak = -Infinity;
        for (let s = begin; s < end; s++) {
          let dot = 0;
          for (let d = 0; d < D; d++) dot += query[(t * H + h) * D + d] * k[head + s * D + d];
          weights[s] = dot * scale + (slope ? slope[h] * (s - slot[t]) : 0);
          peak = Math.max(peak, weights[s]);
        }
        let total = 0;
        for (let s = begin; s < end; s++) total += weights[s] = Math.exp(weights[s] - peak);
        for (let d = 0; d < D; d++) {
          let sum = 0;
          for (let s = begin; s < end; s++) sum += weights[s] * v[head + s * D + d];
          out[(t * H + h) * D + d] = sum / total;
        }
      }
    }
  },

  cases() {
    const random = new Inputs(11);
    const make = (
      T: number,
      H: number,
      G: number,
      D: number,
      slots: number[],
      options: { share?: number; rows?: number; alibi?: boolean; window?: number } = {},
    ) => ({
      name: `T ${T} H ${H} G ${G} D ${D} slots ${slots} ${JSON.stringify(options)}`,
      operands: {
        q: random.numbers([T, H, D]),
        keys: random.numbers([2, G, 150, D]),
        values: random.numbers([2, G, 150, D]),
        sequences: random.integers(Array.from({ length: T }, (_, t) => (T > 3 ? t % 2 : 1))),
        slots: random.integers(slots),
        select:
          options.share === undefined
            ? undefined
            : random.selection(options.rows ?? 1, H, options.share),
        slopes: options.alibi ? random.numbers([H]) : undefined,
        y: output([T, H, D]),
      },
      params: { scale: 1 / Math.sqrt(D), window: options.window ?? 0 },
    });
    return [
      make(1, 1, 1, 1, [0]),
      make(1, 4, 4, 16, [149]),
      make(1, 6, 2, 20, [77]),
      make(3, 4, 1, 64, [10, 11, 12]),
      make(5, 4, 2, 7, [140, 3, 0, 66, 13], { share: 0.5, rows: 5 }),
      make(1, 8, 2, 16, [90], { share: 0 }),
      make(1, 8, 2, 16, [90], { share: 0.4 }),
      make(1, 8, 8, 80, [33], { share: 1 }),
      make(1, 5, 5, 16, [149], { alibi: true }),
      make(3, 4, 1, 24, [30, 31, 32], { alibi: true, share: 0.5, rows: 1 }),
      make(1, 4, 2, 20, [77], { window: 19 }),
      make(1, 4, 2, 20, [77], { window: 78 }),
      make(3, 4, 2, 16, [3, 4, 5], { window: 5 }),
      make(3, 4, 4, 33, [40, 41, 42], { window: 1 }),
      make(3, 2, 1, 16, [140, 5, 60], { window: 9 }),
      make(5, 4, 2, 7, [140, 3, 0, 66, 13], { window: 12, alibi: true, share: 0.5, rows: 5 }),
    ];
  },
};

/** Record attention of q [T, H, D] over one layer's cache; returns [T, H, D]. `window` 0: no limit. */
export function attention(
  g: Recorder,
  operands: {
    q: Tensor;
    keys: Tensor;
    values: Tensor;
    sequences: Tensor;
    slots: Tensor;
    select?: Tensor | undefined;
    slopes?: Tensor | undefined;
  },
  { scale, window = 0 }: { scale: number; window?: number | undefined },
): Tensor {
  const y = g.scratch('f32', operands.q.shape);
  g.record(attentionOp, { ...operands, y }, { scale, window });
  return y;
}

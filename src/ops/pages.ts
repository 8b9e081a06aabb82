import { EngineError } from '../errors.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import { f32, i32, rowReader, u32 } from '../rows.ts';
import { rowBytes, type Tensor } from '../tensor.ts';
import { cacheTypes } from './attention.ts';
import { selected } from './selection.ts';
import { bind, expectSelection, expectType } from './shape.ts';

// Slots p · page … of a text are page p. A row sees pages up to that of its own slot.

const wholeNumbers = (op: string, t: Readonly<Record<string, Tensor | undefined>>): void => {
  for (const name of ['sequences', 'slots'] as const) expectType(op, name, t[name], 'i32');
};

/**
 * bounds[sequences[t], g, slots[t] / page] holds, element by element, the least and the greatest of the page's keys, minima
 * [D] first: k[t, g] widens them, or begins them where its slot begins the page. Rows of one text are in order.
 */
export const pageBoundsOp: Op<'k' | 'sequences' | 'slots' | 'bounds', 'page'> = {
  name: 'pageBounds',
  operands: ['k', 'sequences', 'slots', 'bounds'],
  writes: ['bounds'],
  params: ['page'],
  check(t) {
    const { D = 0, C } = bind(
      'pageBounds',
      { k: 'T G D', sequences: 'T', slots: 'T', bounds: 'B G P C' },
      t,
    );
    wholeNumbers('pageBounds', t);
    if (C !== 2 * D)
      throw new EngineError('BAD_SHAPE', `pageBounds: bounds have ${C} columns, expected ${2 * D}`);
  },
  reads: () => [],
  reference({ k, sequences, slots, bounds }, { page }) {
    const [T = 0, G = 0, D = 0] = k!.shape;
    const P = bounds!.shape[2];
    const [key, text, slot, out] = [f32(k!), i32(sequences!), i32(slots!), f32(bounds!)];
    for (let t = 0; t < T; t++)
      for (let g = 0; g < G; g++) {
        const at = ((text[t] * G + g) * P + Math.floor(slot[t] / page)) * 2 * D;
        for (let d = 0; d < D; d++) {
          const x = key[(t * G + g) * D + d];
          const begins = slot[t] % page === 0;
          out[at + d] = begins ? x : Math.min(out[at + d], x);
          out[at + D + d] = begins ? x : Math.max(out[at + D + d], x);
        }
      }
  },
};

/** Record that keys k [T, G, D] widen the bounds [B, G, P, 2 D] of their pages. */
export function pageBounds(
  g: Recorder,
  operands: { k: Tensor; sequences: Tensor; slots: Tensor; bounds: Tensor },
  page: number,
): void {
  g.record(pageBoundsOp, operands, { page });
}

/**
 * scores[t, g, p]: the most that a query of the heads that share KV head g can gain from a key of page p, by its bounds:
 * the greatest over these heads h of Σ_d max(q[t, h, d] · least, q[t, h, d] · greatest) (Quest, arXiv 2406.10774). Pages that
 * the row does not see are left out.
 */
export const pageScoresOp: Op<'q' | 'sequences' | 'slots' | 'bounds' | 'scores', 'page'> = {
  name: 'pageScores',
  operands: ['q', 'sequences', 'slots', 'bounds', 'scores'],
  writes: ['scores'],
  params: ['page'],
  check(t) {
    bind(
      'pageScores',
      { q: 'T H D', sequences: 'T', slots: 'T', bounds: 'B G P C', scores: 'T G P' },
      t,
    );
    wholeNumbers('pageScores', t);
  },
  /** Bounds of all pages, as the cache has them. */
  reads({ bounds, slots }, { page }) {
    const [, G = 0, , C = 0] = bounds!.shape;
    const bytes = (G * rowBytes('f32', C)) / page;
    return [{ role: 'kv', bytes, select: undefined, perSlot: { slots: slots!, most: Infinity } }];
  },
  reference({ q, sequences, slots, bounds, scores }, { page }) {
    const [T = 0, H = 0, D = 0] = q!.shape;
    const [, G = 1, P = 0] = bounds!.shape;
    const [query, text, slot] = [f32(q!), i32(sequences!), i32(slots!)];
    const [bound, out] = [f32(bounds!), f32(scores!)];
    for (let t = 0; t < T; t++)
      for (let g = 0; g < G; g++)
        for (let p = 0; p <= Math.floor(slot[t] / page); p++) {
          const at = ((text[t] * G + g) * P + p) * 2 * D;
          let most = -Infinity;
          for (let h = (g * H) / G; h < ((g + 1) * H) / G; h++) {
            let sum = 0;
            for (let d = 0; d < D; d++) {
              const x = query[(t * H + h) * D + d];
              sum += Math.max(x * bound[at + d], x * bound[at + D + d]);
            }
            most = Math.max(most, sum);
          }
          out[(t * G + g) * P + p] = most;
        }
  },
};

/** Record scores [T, G, P] of pages by their bounds [B, G, P, 2 D], for queries q [T, H, D]. */
export function pageScores(
  g: Recorder,
  operands: { q: Tensor; sequences: Tensor; slots: Tensor; bounds: Tensor },
  page: number,
): Tensor {
  const [, G = 0, P = 0] = operands.bounds.shape;
  const scores = g.scratch('f32', [operands.q.shape[0], G, P]);
  g.record(pageScoresOp, { ...operands, scores }, { page });
  return scores;
}

/**
 * Pages that each row and KV head reads, as a selection [T · G, 1 + P] in the order t · G + g: all that it sees where these are
 * `count` at most; else those of the first `sinks` and of the last `recent` slots up to its own, and of the others the best
 * scored, lower ones first of equals, until they are `count`. None for a KV head that serves no head of `select`.
 */
export const choosePagesOp: Op<
  'scores' | 'slots' | 'select' | 'pages',
  'page' | 'sinks' | 'recent' | 'count' | 'heads'
> = {
  name: 'choosePages',
  operands: ['scores', 'slots', 'select', 'pages'],
  writes: ['pages'],
  params: ['page', 'sinks', 'recent', 'count', 'heads'],
  check(t, { heads }) {
    const { T = 0, G = 1, P = 0 } = bind('choosePages', { scores: 'T G P', slots: 'T' }, t);
    expectType('choosePages', 'slots', t.slots, 'i32');
    expectSelection('choosePages', t.select, T, heads);
    expectSelection('choosePages', t.pages, T * G, P);
  },
  reference({ scores, slots, select, pages }, { page, sinks, recent, count, heads }) {
    const [T = 0, G = 1, P = 0] = scores!.shape;
    const [score, slot, out] = [f32(scores!), i32(slots!), u32(pages!)];
    for (let t = 0; t < T; t++)
      for (let g = 0; g < G; g++) {
        const asked = selected(select, t, heads).some((h) => Math.floor((h * G) / heads) === g);
        const seen = asked ? Math.floor(slot[t] / page) + 1 : 0;
        const last = Math.floor(Math.max(0, slot[t] + 1 - recent) / page);
        const stays = (p: number): boolean => p * page < sinks || (recent > 0 && p >= last);
        const all = Array.from({ length: seen }, (_, p) => p);
        const free = Math.max(0, count - all.filter(stays).length);
        const at = (t * G + g) * P;
        const best = all
          .filter((p) => !stays(p))
          .sort((a, b) => score[at + b] - score[at + a] || a - b)
          .slice(0, free);
        const chosen = seen <= count ? all : all.filter((p) => stays(p) || best.includes(p));
        out.set([chosen.length, ...chosen], (t * G + g) * (1 + P));
      }
  },
};

export interface PageChoice {
  readonly page: number;
  readonly sinks: number;
  readonly recent: number;
  /** Pages that a row reads, at most, unless the windows are more. */
  readonly count: number;
  /** H */
  readonly heads: number;
}

/** Record the choice of pages by scores [T, G, P]; returns [T · G, 1 + P]. */
export function choosePages(
  g: Recorder,
  operands: { scores: Tensor; slots: Tensor; select?: Tensor | undefined },
  params: PageChoice,
): Tensor {
  const [T = 0, G = 0, P = 0] = operands.scores.shape;
  const pages = g.scratch('u32', [T * G, 1 + P]);
  g.record(choosePagesOp, { ...operands, pages }, { ...params });
  return pages;
}

/**
 * As `attention`, over slots of the chosen pages alone: y[t, h] = Σ_s w[t, h, s] values[s], w being the softmax over these s up
 * to slots[t] of scale · q[t, h] · keys[s] + slopes[h] · (s − slots[t]). `pages` [T · G, 1 + P] is as `choosePages` has it, the
 * row's own page among them; with `window`, slots as far away are not seen. With all pages the bits are those of `attention`.
 */
export const attendPagesOp: Op<
  'q' | 'keys' | 'values' | 'sequences' | 'slots' | 'pages' | 'select' | 'slopes' | 'y',
  'scale' | 'window' | 'page'
> = {
  name: 'attendPages',
  operands: ['q', 'keys', 'values', 'sequences', 'slots', 'pages', 'select', 'slopes', 'y'],
  writes: ['y'],
  params: ['scale', 'window', 'page'],
  check(t, { page }) {
    const {
      T = 0,
      H = 0,
      G = 1,
      S = 0,
    } = bind(
      'attendPages',
      {
        ...{ q: 'T H D', keys: 'B G S D', values: 'B G S D', sequences: 'T', slots: 'T' },
        ...{ 'slopes?': 'H', y: 'T H D' },
      },
      t,
    );
    wholeNumbers('attendPages', t);
    expectSelection('attendPages', t.select, T, H);
    expectSelection('attendPages', t.pages, T * G, Math.ceil(S / page));
    expectType('attendPages', 'keys', t.keys, ...cacheTypes);
    expectType('attendPages', 'values', t.values, t.keys!.dtype);
  },
  /** Keys and values of the chosen pages, whole. */
  reads({ keys, pages }, { page }) {
    const bytes = 2 * page * rowBytes(keys!.dtype, keys!.shape[3]);
    return [{ role: 'kv', bytes, select: pages }];
  },
  reference(t, { scale, window, page }) {
    const [T = 0, H = 0, D = 0] = t.q!.shape;
    const [, G = 1, S = 0] = t.keys!.shape;
    const P = Math.ceil(S / page);
    const [query, out, text, slots] = [f32(t.q!), f32(t.y!), i32(t.sequences!), i32(t.slots!)];
    const [readKey, readValue] = [rowReader(t.keys!), rowReader(t.values!)];
    const slope = t.slopes && f32(t.slopes);
    const [key, value] = [new Float32Array(D), new Float32Array(D)];
    for (let row = 0; row < T; row++)
      for (const h of selected(t.select, row, H)) {
        const g = Math.floor(h / (H / G));
        const first = (text[row] * G + g) * S;
        const own = slots[row];
        const seen = Array.from(selected(t.pages, row * G + g, P))
          .flatMap((p) => Array.from({ length: page }, (_, i) => p * page + i))
          .filter((s) => s <= own && (!window || own - s < window));
        const logits = seen.map((s) => {
          readKey(first + s, key);
          let dot = 0;
          for (let d = 0; d < D; d++) dot += query[(row * H + h) * D + d] * key[d];
          return dot * scale + (slope ? slope[h] * (s - own) : 0);
        });
        const peak = logits.reduce((a, b) => Math.max(a, b), -Infinity);
        const weights = logits.map((logit) => Math.exp(logit - peak));
        const total = weights.reduce((a, b) => a + b, 0);
        const sums = new Float64Array(D);
        seen.forEach((s, i) => {
          readValue(first + s, value);
          for (let d = 0; d < D; d++) sums[d] += weights[i] * value[d];
        });
        for (let d = 0; d < D; d++) out[(row * H + h) * D + d] = sums[d] / total;
      }
  },
};

export interface PagedInput {
  readonly q: Tensor;
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly sequences: Tensor;
  readonly slots: Tensor;
  /** [T · G, 1 + P] */
  readonly pages: Tensor;
  readonly select?: Tensor | undefined;
  readonly slopes?: Tensor | undefined;
}

/** Record attention of q [T, H, D] over chosen pages of one layer's cache; returns [T, H, D]. */
export function attendPages(
  g: Recorder,
  operands: PagedInput,
  { scale, window = 0, page }: { scale: number; window?: number | undefined; page: number },
): Tensor {
  const y = g.scratch('f32', operands.q.shape);
  g.record(attendPagesOp, { ...operands, y }, { scale, window, page });
  return y;
}

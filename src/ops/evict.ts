import { EngineError } from '../errors.ts';
import { f32, i32 } from '../rows.ts';
import type { HostTensor, Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import { rowBytes, type Tensor } from '../tensor.ts';
import { cacheTypes } from './attention.ts';
import { selected } from './selection.ts';
import { bind, expectSelection, expectType } from './shape.ts';

/**
 * What is known of the tokens in each slot [B, G, S], slots 0 … n-1 of a text being those that hold one.
 * Rows of one text in a step are neighbours, and their slots follow one another: the last is n-1.
 */
export interface Ledger {
  /** i32: where in the text the token is. */
  readonly positions: Tensor;
  /** i32: how many of the kept tokens of this KV head come before it. Absent: nobody asks. */
  readonly ranks: Tensor | undefined;
  /** f32: attention it has received. */
  readonly scores: Tensor;
  /** i32: how often a head looked at it, and how often one would have, had none been skipped. */
  readonly looks: Tensor;
  readonly chances: Tensor;
}

type LedgerOperand = 'positions' | 'ranks' | 'scores' | 'looks' | 'chances';

const ledgerOperands = ['positions', 'ranks', 'scores', 'looks', 'chances'] as const;

function expectLedger(op: string, t: Readonly<Record<string, Tensor | undefined>>): void {
  const shape = 'B G S';
  bind(op, { positions: shape, 'ranks?': shape, scores: shape, looks: shape, chances: shape }, t);
  for (const name of ['sequences', 'slots', 'positions', 'ranks', 'looks', 'chances', 'at'])
    expectType(op, name, t[name], 'i32');
}

/** Rows `[first, end)` of a step that are of one text, and its slots in use after them. */
interface Run {
  readonly text: number;
  readonly first: number;
  readonly end: number;
  readonly used: number;
}

function runsOf(sequences: HostTensor, slots: HostTensor): Run[] {
  const [text, slot] = [i32(sequences), i32(slots)];
  const runs: Run[] = [];
  for (let first = 0, end = 0; first < text.length; first = end) {
    while (end < text.length && text[end] === text[first]) end++;
    runs.push({ text: text[first], first, end, used: slot[end - 1] + 1 });
  }
  return runs;
}

/**
 * positions[., g, slots[t]] = at[t], rank = slot, and nothing received yet: rows of this step enter the cache. With `given`
 * [T, G], that is their score, as one head would have given it that looked once.
 */
export const enterOp: Op<'sequences' | 'slots' | 'at' | 'given' | LedgerOperand, never> = {
  name: 'enter',
  operands: ['sequences', 'slots', 'at', 'given', ...ledgerOperands],
  writes: ledgerOperands,
  params: [],
  check(t) {
    bind('enter', { sequences: 'T', slots: 'T', at: 'T', 'given?': 'T G', scores: 'B G S' }, t);
    expectType('enter', 'given', t.given, 'f32');
    expectLedger('enter', t);
  },
  reads: () => [],
  reference(t) {
    const [, G = 0, S = 0] = t.scores!.shape;
    const [text, slot, at] = [i32(t.sequences!), i32(t.slots!), i32(t.at!)];
    text.forEach((b, row) => {
      for (let g = 0; g < G; g++) {
        const place = (b * G + g) * S + slot[row];
        i32(t.positions!)[place] = at[row];
        if (t.ranks) i32(t.ranks)[place] = slot[row];
        f32(t.scores!)[place] = t.given ? f32(t.given)[row * G + g] : 0;
        i32(t.looks!)[place] = i32(t.chances!)[place] = t.given ? 1 : 0;
      }
    });
  },
};

/** Record that rows at positions `at` [T] of their texts enter `slots` [T], with scores `given` [T, G] or none yet. */
export function enter(
  g: Recorder,
  rows: { sequences: Tensor; slots: Tensor; at: Tensor; given?: Tensor | undefined },
  ledger: Ledger,
): void {
  g.record(enterOp, { ...rows, ...ledger }, {});
}

/**
 * Add to scores what slots `received` [B, H, S] from the heads of their KV head (with `layer`, from all
 * heads of the layer), as `attention` gave it for the last `latest` rows of each text (0: all); or with
 * `fresh` put it in their place.
 *
 * Looks are counted: a selected head looks at each slot up to its row's. Where no head looked, nothing
 * changes but chances.
 */
export const observeOp: Op<
  'received' | 'sequences' | 'slots' | 'select' | 'scores' | 'looks' | 'chances',
  'latest' | 'layer' | 'fresh'
> = {
  name: 'observe',
  operands: ['received', 'sequences', 'slots', 'select', 'scores', 'looks', 'chances'],
  writes: ['scores', 'looks', 'chances'],
  params: ['latest', 'layer', 'fresh'],
  check(t) {
    const shapes = { scores: 'B G S', looks: 'B G S', chances: 'B G S', received: 'B H S' };
    const { T = 0, H = 0, G = 1 } = bind('observe', { ...shapes, sequences: 'T', slots: 'T' }, t);
    expectSelection('observe', t.select, T, H);
    for (const name of ['sequences', 'slots', 'looks', 'chances'] as const)
      expectType('observe', name, t[name], 'i32');
    if (H % G) throw new EngineError('BAD_SHAPE', `observe: ${H} heads share ${G} KV heads`);
  },
  reads: () => [],
  reference(t, { latest, layer, fresh }) {
    const [, G = 1, S = 0] = t.scores!.shape;
    const H = t.received!.shape[1];
    const [received, scores] = [f32(t.received!), f32(t.scores!)];
    const [looks, chances, slot] = [i32(t.looks!), i32(t.chances!), i32(t.slots!)];
    for (const { text, first, end, used } of runsOf(t.sequences!, t.slots!)) {
      const counted = latest ? Math.max(first, end - latest) : first;
      for (let g = 0; g < G; g++) {
        const [h0, h1] = layer ? [0, H] : [(g * H) / G, ((g + 1) * H) / G];
        for (let s = 0; s < used; s++) {
          let [sum, could, did] = [0, 0, 0];
          for (let h = h0; h < h1; h++) sum += received[(text * H + h) * S + s];
          for (let row = counted; row < end; row++) {
            if (s > slot[row]) continue;
            could += h1 - h0;
            did += selected(t.select, row, H).filter((h) => h >= h0 && h < h1).length;
          }
          const at = (text * G + g) * S + s;
          const anew = fresh && did > 0;
          scores[at] = anew ? sum : scores[at] + sum;
          looks[at] = anew ? did : looks[at] + did;
          chances[at] = anew ? could : chances[at] + could;
        }
      }
    }
  },
};

export interface ObserveInput {
  /** [B, H, S] */
  readonly received: Tensor;
  /** i32 [T], both. */
  readonly sequences: Tensor;
  readonly slots: Tensor;
  /** Heads that looked; default all. */
  readonly select?: Tensor | undefined;
  readonly ledger: Ledger;
}

/** Record an `observe`. */
export function observe(
  g: Recorder,
  { ledger: { scores, looks, chances }, ...operands }: ObserveInput,
  params: { latest: number; layer: boolean; fresh: boolean },
): void {
  const { latest, layer, fresh } = params;
  g.record(
    observeOp,
    { ...operands, scores, looks, chances },
    { latest, layer: Number(layer), fresh: Number(fresh) },
  );
}

/**
 * Where more than `budget` + `slack` slots of a text hold a token, evict down to `budget`, for each KV head by
 * itself: those with the lowest worth, the oldest of equals, never the first `sinks` tokens of the text nor
 * the last `recent`.
 *
 * A token's worth is its score, as it would be had no head been skipped: times chances / looks. One that
 * nobody looked at is worth more than any other. With `pool` above 1, the mean of its own and its
 * neighbours' in the text, `pool` in all, of those that may go, 0 beyond their ends (SnapKV, arXiv 2404.14469).
 *
 * Slots 0 … `budget`-1 then hold what is kept: tokens in slots beyond move into the freed ones, in order of
 * slots; one at most for each token that came. With `forget`, scores begin anew.
 */
export const evictOp: Op<
  'sequences' | 'slots' | 'keys' | 'values' | LedgerOperand,
  'sinks' | 'recent' | 'budget' | 'slack' | 'pool' | 'forget'
> = {
  name: 'evict',
  operands: ['sequences', 'slots', 'keys', 'values', ...ledgerOperands],
  writes: ['keys', 'values', ...ledgerOperands],
  params: ['sinks', 'recent', 'budget', 'slack', 'pool', 'forget'],
  check(t, { sinks, recent, budget }) {
    bind('evict', { sequences: 'T', slots: 'T' }, t);
    bind('evict', { keys: 'B G S D', values: 'B G S D', scores: 'B G S' }, t);
    expectLedger('evict', t);
    expectType('evict', 'keys', t.keys, ...cacheTypes);
    expectType('evict', 'values', t.values, t.keys!.dtype);
    if (sinks + recent > budget || budget < 1)
      throw new EngineError(
        'BAD_SHAPE',
        `evict: ${sinks} first and ${recent} last tokens never go, expected at most the budget of ${budget}`,
      );
  },
  reads: () => [],
  reference(t, { sinks, recent, budget, slack, pool, forget }) {
    const [, G = 0, S = 0, D = 0] = t.keys!.shape;
    const stride = rowBytes(t.keys!.dtype, D);
    const [positions, ranks, scores] = [i32(t.positions!), t.ranks && i32(t.ranks), f32(t.scores!)];
    const [looks, chances] = [i32(t.looks!), i32(t.chances!)];
    for (const { text, used } of runsOf(t.sequences!, t.slots!)) {
      if (used <= budget + slack) continue;
      for (let g = 0; g < G; g++) {
        const first = (text * G + g) * S;
        const slots = Array.from({ length: used }, (_, s) => first + s);
        const inOrder = slots.toSorted((a, b) => positions[a] - positions[b]);
        const newest = positions[inOrder[used - 1]];
        const mayGo = inOrder.filter(
          (s) => positions[s] >= sinks && positions[s] <= newest - recent,
        );
        const alone = mayGo.map((s) =>
          looks[s] ? Math.fround(scores[s] * Math.fround(chances[s] / looks[s])) : Infinity,
        );
        const worth = alone.map((own, i) => {
          if (pool <= 1) return own;
          const half = Math.floor(pool / 2);
          let sum = 0;
          for (let j = Math.max(0, i - half); j <= i + half && j < alone.length; j++)
            sum = Math.fround(sum + alone[j]);
          return Math.fround(sum / pool);
        });
        const gone = new Set(
          mayGo
            .map((s, i) => ({ s, worth: worth[i] }))
            .sort((a, b) => (a.worth < b.worth ? -1 : a.worth > b.worth ? 1 : 0))
            .slice(0, used - budget)
            .map(({ s }) => s),
        );
        if (ranks) inOrder.filter((s) => !gone.has(s)).forEach((s, rank) => (ranks[s] = rank));
        const holes = slots.slice(0, budget).filter((s) => gone.has(s));
        const movers = slots.slice(budget).filter((s) => !gone.has(s));
        movers.forEach((from, i) => {
          const to = holes[i];
          for (const rows of [t.keys!.bytes, t.values!.bytes])
            rows.copyWithin(to * stride, from * stride, (from + 1) * stride);
          for (const column of [positions, ranks, scores, looks, chances])
            if (column) column[to] = column[from];
        });
        for (const s of forget ? slots.slice(0, budget) : []) scores[s] = looks[s] = chances[s] = 0;
      }
    }
  },
};

export interface Eviction {
  readonly sinks: number;
  readonly recent: number;
  readonly budget: number;
  readonly slack: number;
  readonly pool: number;
  readonly forget: boolean;
}

/** Record an `evict`. */
export function evict(
  g: Recorder,
  operands: { sequences: Tensor; slots: Tensor; keys: Tensor; values: Tensor },
  ledger: Ledger,
  { forget, ...params }: Eviction,
): void {
  g.record(evictOp, { ...operands, ...ledger }, { ...params, forget: Number(forget) });
}

import type { Kept, Layout, StepRows } from '../../cache.ts';
import type { Budget, KVPolicy } from '../../kv.ts';
import type { Tensor } from '../../tensor.ts';
import { budgetAt, budgetOf, tokensOf } from './budget.ts';

/**
 * Rows of a step beyond the budget: there is room for as many, so that a prompt is read in steps of more than
 * one row. An eighth of the budget.
 */
const rowsBeyond = (budget: number): number => Math.min(256, Math.max(8, budget >> 3));

/** The layout of a policy, for texts of up to `capacity` tokens in `layers` layers. */
export function layoutOf(policy: KVPolicy, capacity: number, layers: number): Layout {
  const budgets: Budget[] = [];
  const groups = Array.from({ length: layers }, (_, layer) => {
    const budget = budgetAt(policy, layer);
    const known = budgets.findIndex((other) => isSame(other, budget));
    return known >= 0 ? known : budgets.push(budget) - 1;
  });
  const parts = budgets.map((budget) => partOf(policy, budget, capacity));
  return {
    groups,
    slots: parts.map(({ slots }) => slots),
    empty: parts.map(() => 0),
    room: (length, kept) => Math.min(...parts.map((part, i) => part.room(length, kept[i]))),
    row: (group, length, kept, i) => parts[group].row(length, kept[group], i),
    after: (length, kept, rows) => parts.map((part, i) => part.after(length, kept[i], rows)),
    cut: (length, wanted) => Math.min(...parts.map((part) => part.cut(length, wanted))),
  };
}

const isSame = (a: Budget, b: Budget): boolean =>
  a.sinks === b.sinks && a.heavy === b.heavy && a.recent === b.recent;

/** Mean over layers of the tokens that are kept of a text that was read at once. */
export const keptOf = (layout: Layout, length: number): number =>
  meanKept(layout, layout.after(0, layout.empty, length));

/** Mean over layers of the tokens that are kept. */
export const meanKept = ({ groups }: Layout, kept: Kept): number =>
  groups.reduce((sum, group) => sum + kept[group], 0) / groups.length;

/** Rows of texts of which nothing was evicted: a token's slot is its position, in every group of layers. */
export const unmoved = (rows: Pick<StepRows, 'sequences' | 'positions'>, groups = 1): StepRows => ({
  ...rows,
  slots: new Array<Tensor>(groups).fill(rows.positions),
  places: new Array<Tensor>(groups).fill(rows.positions),
});

/** The layout of one group of layers, where `kept` is a number. */
interface Part {
  readonly slots: number;
  room(length: number, kept: number): number;
  row(length: number, kept: number, i: number): { readonly slot: number; readonly place: number };
  after(length: number, kept: number, rows: number): number;
  cut(length: number, wanted: number): number;
}

function partOf(policy: KVPolicy, budget: Budget, capacity: number): Part {
  switch (policy.keeps) {
    case 'all':
      return whole(capacity, 1);
    case 'chosen':
      return whole(capacity, policy.choice.page);
    case 'windows':
      return ring(tokensOf(budget), capacity);
    case 'ranked':
      return ranked(tokensOf(budget), slackOf(policy), capacity);
  }
}

/** Tokens above the budget that a policy lets in before it evicts. */
export const slackOf = (policy: KVPolicy): number =>
  policy.keeps === 'ranked' && policy.score.by === 'attention' ? policy.score.slack : 0;

/** Tokens of a text that are in the cache after a step, at most; of layers with budgets of their own the mean. */
export const mostKept = (policy: KVPolicy): number =>
  policy.keeps === 'chosen' ? Infinity : budgetOf(policy) + slackOf(policy);

/** A token's slot is its position. A text is cut back to whole pages: what is known of a page holds for all its tokens. */
const whole = (capacity: number, page: number): Part => ({
  slots: capacity,
  room: (length) => capacity - length,
  row: (length, _kept, i) => ({ slot: length + i, place: length + i }),
  after: (length, _kept, rows) => length + rows,
  cut: (_length, wanted) => wanted - (wanted % page),
});

/** Sinks, then a ring; slots count on past its end, and ops come around. */
function ring(budget: number, capacity: number): Part {
  const slots = Math.min(capacity, budget + rowsBeyond(budget) - 1);
  return {
    slots,
    // A row's token must not take the place of one that an earlier row of the step still sees.
    room: (length) => Math.min(capacity - length, Math.max(slots - length, slots - budget + 1)),
    row: (length, _kept, i) => ({ slot: length + i, place: Math.min(length + i, budget - 1) }),
    after: (length, _kept, rows) => Math.min(length + rows, budget),
    // What is cut off must not have taken the place of a token that is within the budget again.
    cut: (length, wanted) => (length <= slots || length - wanted <= slots - budget ? wanted : 0),
  };
}

/** Kept tokens lie in the first slots, in any order; new ones come behind them. */
function ranked(budget: number, slack: number, capacity: number): Part {
  const limit = budget + slack;
  const slots = Math.min(capacity, limit + rowsBeyond(budget));
  return {
    slots,
    room: (length, kept) => Math.min(capacity - length, slots - kept),
    row: (_length, kept, i) => ({ slot: kept + i, place: kept + i }),
    after: (_length, kept, rows) => (kept + rows > limit ? budget : kept + rows),
    // Scores hold what queries gave that are cut off.
    cut: () => 0,
  };
}

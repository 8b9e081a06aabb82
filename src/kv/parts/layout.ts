import type { KVPolicy, Layout, StepRows } from '../../kv.ts';
import { budgetOf } from './budget.ts';

/**
 * Rows of a step beyond the budget: there is room for as many, so that a prompt is read in steps of more than
 * one row. An eighth of the budget.
 */
const rowsBeyond = (budget: number): number => Math.min(256, Math.max(8, budget >> 3));

/** The layout of a policy, for texts of up to `capacity` tokens. */
export function layoutOf(policy: KVPolicy, capacity: number): Layout {
  if (policy.recent === Infinity) return whole(capacity);
  return policy.score ? ranked(policy, policy.score.slack, capacity) : ring(policy, capacity);
}

/** Rows of texts of which nothing was evicted: a token's slot is its position. */
export const unmoved = (rows: Pick<StepRows, 'sequences' | 'positions'>): StepRows => ({
  ...rows,
  slots: rows.positions,
  places: rows.positions,
});

/** A token's slot is its position. */
const whole = (capacity: number): Layout => ({
  slots: capacity,
  room: (length) => capacity - length,
  row: (length, _kept, i) => ({ slot: length + i, place: length + i }),
  after: (length, _kept, rows) => length + rows,
  cut: (_length, wanted) => wanted,
});

/** Sinks, then a ring; slots count on past its end, and ops come around. */
function ring(policy: KVPolicy, capacity: number): Layout {
  const budget = budgetOf(policy);
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
function ranked(policy: KVPolicy, slack: number, capacity: number): Layout {
  const budget = budgetOf(policy);
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

import type { PolicyKind } from '../kv.ts';
import { between, defaultBudget } from './parts/budget.ts';

/** Queries that observe, and so the tokens that are kept whatever they receive (SnapKV, section 4). */
const observing = 32;

/**
 * SnapKV (arXiv 2404.14469): what the last 32 queries look at, each token ranked by the mean of five
 * neighbours, is kept beside those 32; each KV head its own.
 *
 * The paper does this once, after a prompt that was held as a whole, and lets the cache grow from there. Here a
 * prompt is read in chunks that are each followed by it, and generation goes on with it whenever 32 tokens have
 * come, so that memory stays within the budget and 32.
 */
export const snapkv: PolicyKind<'snapkv'> = {
  name: 'snapkv',
  summary: 'what the last 32 queries look at, by neighbourhoods (SnapKV, arXiv 2404.14469)',
  takes: ['sinks', 'recent', 'budget'],
  create: ({ sinks = 0, recent = observing, budget }, { context }) => ({
    name: 'snapkv',
    keeps: 'ranked',
    positions: 'original',
    budget: between(budget ?? defaultBudget(context), sinks, recent),
    score: {
      by: 'attention',
      of: 'group',
      queries: observing,
      sums: true,
      pool: 5,
      slack: observing,
    },
  }),
};

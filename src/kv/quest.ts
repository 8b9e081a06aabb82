import type { Choice, PolicyKind } from '../kv.ts';
import { pageBounds, pageScores } from '../ops/pages.ts';
import { between, defaultBudget } from './parts/budget.ts';

/**
 * Quest (arXiv 2406.10774): nothing is evicted. Keys lie in pages of 16, of which the least and greatest of each element are
 * kept; a step reads the pages from which its query can gain most by these bounds, beside the first page and its own. The
 * budget is what is read. The first two layers read everything, as in the paper.
 *
 * We depart from it where heads share keys: they share pages too, those that any of them wants.
 */
export const quest: PolicyKind<'quest'> = {
  name: 'quest',
  summary:
    'all; a step reads the first `sinks`, the last `recent`, and the pages between that its queries can gain most from, `kvBudget` tokens in all (Quest, arXiv 2406.10774)',
  takes: ['sinks', 'recent', 'budget'],
  create: ({ sinks = 1, recent = 1, budget }, { context }) => ({
    name: 'quest',
    keeps: 'chosen',
    positions: 'original',
    budget: between(budget ?? defaultBudget(context), sinks, recent),
    choice: bounds,
  }),
};

const page = 16;

const bounds: Choice = {
  page,
  fullLayers: 2,
  columns: (headDim) => 2 * headDim,
  update: (g, { k, sequences, slots, pages }) =>
    pageBounds(g, { k, sequences, slots, bounds: pages }, page),
  score: (g, { q, sequences, slots, pages }) =>
    pageScores(g, { q, sequences, slots, bounds: pages }, page),
};

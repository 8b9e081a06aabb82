import type { KVPolicy, PolicyKind, Score } from '../kv.ts';
import { halves } from './parts/budget.ts';

/**
 * H2O (arXiv 2306.14048): keeps the tokens that have drawn the most attention, the heavy hitters, and the
 * last ones; each KV head its own. Scores are sums over all queries since the token came, of the query heads
 * that share the KV head; one token goes for each that comes.
 *
 * We depart from it in three things. The first tokens may be kept whatever their score (4 unless told
 * otherwise; 0 is the paper). A prompt is read in chunks, each followed by an eviction, so that it never needs
 * more memory than the budget; the paper evicts once after it. A sum counts as if no head had been skipped.
 */
const kind = <N extends string>(
  name: N,
  positions: KVPolicy['positions'],
  summary: string,
): PolicyKind<N> => ({
  name,
  summary,
  takes: ['sinks', 'heavy', 'recent', 'budget'],
  create: (options, { context }) => ({
    name,
    keeps: 'ranked',
    positions,
    // A fifth of the context unless told otherwise; what is left of a budget is split evenly, as in the paper.
    budget: halves(options, options.budget ?? Math.round(context / 5)),
    score: sums,
  }),
});

/** Positions are places in the text; it ends where the model's context does. */
export const h2o = kind(
  'h2o',
  'original',
  'the first `sinks`, the `heavy` that drew most attention, the last `recent`; each KV head its own (H2O, arXiv 2306.14048)',
);

/** Positions are places among the kept tokens of the head: for texts that go on past the model's context. */
export const h2oCompacted = kind(
  'h2o-compacted',
  'compacted',
  'the same, with places in the cache for positions; a text may go on past the context, but not with learned positions',
);

const sums: Score = {
  by: 'attention',
  of: 'group',
  queries: Infinity,
  sums: true,
  pool: 1,
  slack: 0,
};

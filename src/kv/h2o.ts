import type { KVOptions, KVPolicy, PolicyKind, Score } from '../kv.ts';

/**
 * H2O (arXiv 2306.14048): keeps the tokens that have drawn the most attention, the heavy hitters, and the
 * last ones; each KV head its own. Scores are sums over all queries since the token came, of the query heads
 * that share the KV head; one token goes for each that comes.
 *
 * We depart from it in three things. The first tokens may be kept whatever their score (4 unless told
 * otherwise; 0 is the paper). A prompt is read in chunks, each followed by an eviction, so that it never needs
 * more memory than the budget; the paper evicts once after it. A sum counts as if no head had been skipped.
 */
const kind = (name: string, summary: string, positions: KVPolicy['positions']): PolicyKind => ({
  name,
  summary,
  takes: ['sinks', 'heavy', 'recent', 'budget'],
  create: (options, context) => ({ name, ...split(options, context), positions, score: sums }),
});

/** Positions are places in the text; it ends where the model's context does. */
export const h2o = kind(
  'h2o',
  'the first `sinks`, the `heavy` that drew most attention, the last `recent`; each KV head its own (H2O, arXiv 2306.14048)',
  'original',
);

/** Positions are places among the kept tokens of the head: for texts that go on past the model's context. */
export const h2oCompacted = kind(
  'h2o-compacted',
  'the same, with places in the cache for positions; a text may go on past the context, but not with learned positions',
  'compacted',
);

const sums: Score = { of: 'group', queries: Infinity, sums: true, pool: 1, slack: 0 };

/** A fifth of the context unless told otherwise; what is left of a budget is split evenly, as in the paper. */
function split(
  { sinks = 4, heavy, recent, budget }: KVOptions,
  context: number,
): Pick<KVPolicy, 'sinks' | 'heavy' | 'recent'> {
  const rest = (budget ?? Math.round(context / 5)) - sinks;
  const newest = recent ?? (heavy === undefined ? Math.ceil(rest / 2) : rest - heavy);
  return { sinks, recent: newest, heavy: heavy ?? rest - newest };
}

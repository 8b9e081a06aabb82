import type { PolicyKind } from '../kv.ts';
import { between, defaultBudget } from './parts/budget.ts';

/**
 * TOVA (arXiv 2401.06104): keeps the tokens that the latest query looks at most, by the mean over all heads of
 * a layer, which therefore keep the same. Nothing is added up, so old tokens have no advantage, and no window
 * is kept: even the newest token may go.
 *
 * We depart from it in reading a prompt in chunks, each ranked by its last query.
 */
export const tova: PolicyKind<'tova'> = {
  name: 'tova',
  summary: 'what the latest query looks at (TOVA, arXiv 2401.06104)',
  takes: ['sinks', 'recent', 'budget'],
  create: ({ sinks = 0, recent = 0, budget }, { context }) => ({
    name: 'tova',
    keeps: 'ranked',
    positions: 'original',
    budget: between(budget ?? defaultBudget(context), sinks, recent),
    score: { by: 'attention', of: 'layer', queries: 1, sums: false, pool: 1, slack: 0 },
  }),
};

import type { PolicyKind } from '../kv.ts';
import { defaultBudget } from './parts/budget.ts';

/**
 * StreamingLLM (arXiv 2309.17453): keeps the first tokens, the attention sinks, and the last ones; positions
 * are places in the cache, so a text may go on without end. What left the cache is forgotten.
 *
 * The paper's code rotates all cached keys anew in every step. Here each is rotated once, and queries twice
 * (methods of `attention`): as rotary embedding knows differences alone, that is the same.
 */
export const streaming: PolicyKind<'streaming'> = {
  name: 'streaming',
  summary:
    'the first `sinks` (4) and the last `recent` (StreamingLLM, arXiv 2309.17453); a text may go on past the context, but not with learned positions',
  takes: ['sinks', 'recent', 'budget'],
  create: ({ sinks = 4, recent, budget }, { context }) => ({
    name: 'streaming',
    keeps: 'windows',
    positions: 'compacted',
    budget: { sinks, heavy: 0, recent: recent ?? (budget ?? defaultBudget(context)) - sinks },
  }),
};

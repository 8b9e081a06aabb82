import type { PolicyKind } from '../kv.ts';
import { defaultBudget } from './parts/budget.ts';

/**
 * Keeps the last tokens alone. The control beside `streaming`: it loses the first tokens, on which trained
 * models rest much of their attention, and with them the model (StreamingLLM, arXiv 2309.17453, section 3.1).
 */
export const window: PolicyKind<'window'> = {
  name: 'window',
  summary:
    'the last `recent`; a text may go on past the context, but quality breaks when the first tokens leave',
  takes: ['recent', 'budget'],
  create: ({ recent, budget }, { context }) => ({
    name: 'window',
    keeps: 'windows',
    positions: 'original',
    budget: { sinks: 0, heavy: 0, recent: recent ?? budget ?? defaultBudget(context) },
  }),
};

import type { KeyScore, PolicyKind } from '../kv.ts';
import { noise } from '../ops/select.ts';
import { defaultBudget, halves } from './parts/budget.ts';

/**
 * Keeps the first tokens, the last, and between them tokens by chance, each KV head its own: the floor beside policies
 * that rank. A token's number is drawn when it comes, by its position, so that a text keeps the same tokens wherever it is read.
 */
export const random: PolicyKind<'random'> = {
  name: 'random',
  summary: 'the first `sinks`, the last `recent`, and `heavy` between them by chance: the floor',
  takes: ['sinks', 'heavy', 'recent', 'budget'],
  create: (options, { context }) => ({
    name: 'random',
    keeps: 'ranked',
    positions: 'original',
    budget: halves(options, options.budget ?? defaultBudget(context)),
    score: chance,
  }),
};

const chance: KeyScore = {
  by: 'key',
  of: (g, { k, positions, layer }) =>
    noise(g, { sequences: positions, positions }, k.shape[1], 4099 + layer),
};

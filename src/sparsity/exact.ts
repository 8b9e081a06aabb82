import type { Sparsity } from '../sparsity.ts';
import { carryAbove } from './parts/carry.ts';

/**
 * No predictor and no loss: every activation is computed, then rows of the down projection (and of
 * the up projection in gated models) whose activation is zero are skipped.
 */
export const exact: Sparsity = {
  name: 'exact',
  begin: (g) => ({ select: () => 'all', carry: carryAbove(g, 0) }),
};

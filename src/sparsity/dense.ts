import type { Sparsity } from '../sparsity.ts';

/** Selects everything and skips nothing. */
export const dense: Sparsity = {
  name: 'dense',
  computesAll: true,
  begin: () => ({ select: () => 'all' }),
};

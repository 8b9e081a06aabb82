import { selectTop } from '../ops/select.ts';
import { pool } from '../ops/union.ts';
import type { MethodContext, Sparsity } from '../sparsity.ts';
import { carryAbove } from './parts/carry.ts';

/**
 * The ceiling: the heads and neurons that truly contribute most, found by computing them all first
 * (Deja Vu's two passes, arXiv 2310.17157 §3; theirs over a whole forward pass, ours block by block).
 * Saves nothing and reads more than dense; its quality is what a perfect predictor would have.
 */
export const oracle = ({ count }: Pick<MethodContext, 'count'>): Sparsity => ({
  name: 'oracle',
  begin: (g) => ({
    carry: carryAbove(g, 0),
    select: (site, layer, x, truth) => {
      const k = count(site, layer, x.shape[0]);
      if (typeof k !== 'number') return 'all';
      const scores = truth();
      return selectTop(g, site === 'heads' ? scores : pool(g, scores), k);
    },
  }),
});

import { noise, selectTop } from '../ops/select.ts';
import type { MethodContext, Sparsity } from '../sparsity.ts';

/** The floor: as many heads and neurons as the predictor would take, at random for each token. */
export const random = ({
  count,
  description,
  seed,
}: Pick<MethodContext, 'count' | 'description' | 'seed'>): Sparsity => ({
  name: 'random',
  begin: (g, { positions }) => ({
    cut: 0,
    select: (site, layer) => {
      const k = count(site, layer);
      if (k === undefined) return 'all';
      const n = site === 'heads' ? description.heads : description.neurons;
      const stream = (seed * 8191 + 2 * layer + (site === 'heads' ? 1 : 0)) % 2 ** 31;
      return selectTop(g, noise(g, positions, n, stream), k);
    },
  }),
});

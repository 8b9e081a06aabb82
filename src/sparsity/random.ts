import { noise, selectTop } from '../ops/select.ts';
import { pays, type MethodContext, type Sparsity } from '../sparsity.ts';
import { slice } from '../tensor.ts';
import { carryAbove } from './parts/carry.ts';

/** The floor: as many heads and neurons as the predictor would take, at random for each token. */
export const random = ({
  count,
  description,
  seed,
}: Pick<MethodContext, 'count' | 'description' | 'seed'>): Sparsity => ({
  name: 'random',
  begin: (g, step) => ({
    carry: carryAbove(g, 0),
    select: (site, layer, x) => {
      const k = count(site, layer, x.shape[0]);
      const n = site === 'heads' ? description.heads : description.neurons;
      if (typeof k !== 'number' || !pays(step, site, k / n)) return 'all';
      const stream = (seed * 8191 + 2 * layer + (site === 'heads' ? 1 : 0)) % 2 ** 31;
      const { sequences, positions } = step;
      const rows =
        site === 'heads'
          ? step
          : { sequences: slice(sequences, 0, 1), positions: slice(positions, 0, 1) };
      return selectTop(g, noise(g, rows, n, stream), k);
    },
  }),
});

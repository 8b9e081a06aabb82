import { linear } from '../ops/linear.ts';
import { selectAbove, selectTop } from '../ops/select.ts';
import { pool } from '../ops/union.ts';
import type { Recorder } from '../program.ts';
import type { Selection, Site } from '../selector.ts';
import { pays, type MethodContext, type SparseStep, type Sparsity } from '../sparsity.ts';
import type { Tensor } from '../tensor.ts';
import { carryAbove } from './parts/carry.ts';

/**
 * Deja Vu with trained predictors (arXiv 2310.17157 §4, Algorithm 1): from the attention input of block
 * l, the neurons of MLP l and the heads of block l + 1. Both are recorded the moment block l asks
 * for heads; they depend on nothing later, so they run beside its attention.
 *
 * Where we depart: predictors have a bias and a ReLU; each layer has its own calibrated threshold
 * instead of one global k; neurons that turn out exactly zero are skipped in what follows. Rows decoded
 * together share their neurons: those above the threshold for any row.
 */
export function predictor({
  predictor: trained,
  count,
  description,
}: Pick<MethodContext, 'predictor' | 'count' | 'description'>): Sparsity {
  const { layers } = description;

  const choose = (
    g: Recorder,
    step: SparseStep,
    site: Site,
    layer: number,
    x: Tensor,
  ): Selection => {
    const net = trained!.net(site, layer);
    const threshold = trained!.threshold(site, layer);
    const rows = x.shape[0];
    const k = count(site, layer, rows);
    if (!net || k === 'all' || (k === undefined && threshold === undefined)) return 'all';
    const expected = k === undefined ? trained!.density(site, layer, rows) : k / net.up.shape[0];
    if (!pays(step, site, expected)) return 'all';
    const inner = linear(g, { x, w: net.down, bias: net.downBias, activation: 'relu' });
    const scores = linear(g, { x: inner, w: net.up, bias: net.upBias });
    const shared = site === 'neurons';
    if (k === undefined) return selectAbove(g, scores, threshold!, { shared });
    return selectTop(g, shared ? pool(g, scores) : scores, k);
  };

  return {
    name: 'predictor',
    begin: (g, step) => {
      const ahead = new Map<string, Selection>();
      return {
        carry: carryAbove(g, 0),
        select: (site, layer, x) => {
          if (site === 'heads') {
            const next = layer + 1;
            ahead.set(`neurons ${layer}`, choose(g, step, 'neurons', layer, x));
            if (next < layers) ahead.set(`heads ${next}`, choose(g, step, 'heads', next, x));
          }
          return ahead.get(`${site} ${layer}`) ?? 'all';
        },
      };
    },
  };
}

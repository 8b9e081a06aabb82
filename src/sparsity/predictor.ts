import { linear } from '../ops/linear.ts';
import { selectAbove, selectTop } from '../ops/select.ts';
import type { LowRankNet } from '../predictor.ts';
import type { Recorder } from '../program.ts';
import type { MethodContext, Selection, Site, Sparsity } from '../sparsity.ts';
import type { Tensor } from '../tensor.ts';

/**
 * Deja Vu with trained predictors (arXiv 2310.17157 §4, Algorithm 1): from the attention input of block
 * l, the neurons of MLP l and the heads of block l + 1. Both are recorded the moment block l asks
 * for heads; they depend on nothing later, so they run beside its attention.
 *
 * Where we depart: predictors have a bias and a ReLU; each layer has its own calibrated threshold
 * instead of one global k; neurons that turn out exactly zero are skipped in what follows.
 */
export function predictor({
  predictor: trained,
  count,
  description,
}: Pick<MethodContext, 'predictor' | 'count' | 'description'>): Sparsity {
  const { layers } = description;

  const choose = (
    g: Recorder,
    site: Site,
    layer: number,
    x: Tensor,
    net: LowRankNet | undefined,
  ): Selection => {
    const threshold = trained!.threshold(site, layer);
    const k = count(site, layer);
    if (!net || (k === undefined && threshold === undefined)) return 'all';
    const inner = linear(g, { x, w: net.down, bias: net.downBias, activation: 'relu' });
    const scores = linear(g, { x: inner, w: net.up, bias: net.upBias });
    return k === undefined ? selectAbove(g, scores, threshold!) : selectTop(g, scores, k);
  };

  return {
    name: 'predictor',
    begin: (g) => {
      const ahead = new Map<string, Selection>();
      return {
        cut: 0,
        select: (site, layer, x) => {
          if (site === 'heads') {
            const next = layer + 1;
            ahead.set(
              `neurons ${layer}`,
              choose(g, 'neurons', layer, x, trained!.net('neurons', layer)),
            );
            if (next < layers)
              ahead.set(`heads ${next}`, choose(g, 'heads', next, x, trained!.net('heads', next)));
          }
          return ahead.get(`${site} ${layer}`) ?? 'all';
        },
      };
    },
  };
}

import type { Selection } from '../selector.ts';
import { pays, type MethodContext, type Sparsity } from '../sparsity.ts';
import { carryAbove } from './parts/carry.ts';

/**
 * Sparsity without context: always the heads and neurons that contributed most often over the
 * calibration text, as many as the predictor would take.
 */
export function staticChoice({
  backend,
  count,
  predictor,
}: Pick<MethodContext, 'backend' | 'count' | 'predictor'>): Sparsity {
  const chosen = new Map<string, Selection>();

  const choose = (usage: Float32Array, k: number): Selection => {
    const best = Array.from(usage.keys())
      .sort((a, b) => usage[b] - usage[a] || a - b)
      .slice(0, k)
      .sort((a, b) => a - b);
    const tensor = backend.allocate('u32', [1, 1 + usage.length], 'state');
    const content = new Uint32Array(1 + usage.length);
    content.set([k, ...best]);
    backend.write(tensor, content);
    return tensor;
  };

  return {
    name: 'static',
    begin: (g, step) => ({
      carry: carryAbove(g, 0),
      select: (site, layer, x) => {
        const usage = predictor!.layers[layer][site]?.usage;
        const k = count(site, layer, x.shape[0]);
        if (!usage || typeof k !== 'number' || k === usage.length) return 'all';
        if (!pays(step, site, k / usage.length)) return 'all';
        const key = `${site} ${layer} ${k}`;
        const known = chosen.get(key) ?? choose(usage, k);
        chosen.set(key, known);
        return known;
      },
    }),
  };
}

import type { Backend } from '../backend.ts';
import type { Description } from '../model.ts';
import type { Site } from '../selector.ts';
import type { Sparsity } from '../sparsity.ts';
import type { Tensor } from '../tensor.ts';

/** Selections written by the host before each run: to compare against runs whose choice is known. */
export interface Given extends Sparsity, Disposable {
  /** Let the next runs compute these heads or neurons (ascending) of one layer. At first: none. */
  choose(site: Site, layer: number, chosen: readonly number[]): void;
}

/** One choice serves all rows of a step, so it is exact for steps of one row. */
export function given(backend: Backend, { layers, heads, neurons }: Description): Given {
  const sizes: Record<Site, number> = { heads, neurons };
  const make = (site: Site): Tensor[] =>
    Array.from({ length: layers }, () => backend.allocate('u32', [1, 1 + sizes[site]], 'state'));
  const tensors: Record<Site, Tensor[]> = { heads: make('heads'), neurons: make('neurons') };
  return {
    name: 'given',
    begin: () => ({ select: (site, layer) => tensors[site][layer] }),
    choose(site, layer, chosen) {
      const row = new Uint32Array(1 + sizes[site]);
      row.set([chosen.length, ...chosen]);
      backend.write(tensors[site][layer], row);
    },
    [Symbol.dispose]() {
      for (const tensor of [...tensors.heads, ...tensors.neurons]) backend.free(tensor);
    },
  };
}

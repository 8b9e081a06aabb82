import type { Tensor } from './tensor.ts';

/** Where a model can leave something out: heads of attention, neurons of the MLP. */
export type Site = 'heads' | 'neurons';

/**
 * What to compute: everything, or a u32 tensor [R, 1 + N] holding per row a count and that many
 * ascending indices. R is 1 (one choice for all rows of the step) or the rows' number. It is written
 * and read on the device; nothing waits for it on the host.
 */
export type Selection = 'all' | Tensor;

/** What ops take: no tensor selects all. */
export const asOperand = (selection: Selection): Tensor | undefined =>
  selection === 'all' ? undefined : selection;

/** Answers for one step. Blocks ask in order, each first for heads, then for neurons. */
export interface Selector {
  /**
   * Choose at one site of block `layer`: neurons for all rows together, heads for each.
   *
   * `x` [T, E] is what the site's projections read: the attention input, after its norm where the
   * family has one there, or the MLP input. Borrowed: valid in this recording only.
   * `truth` records the exact contribution of each candidate, [T, N], from dense weights: for neurons
   * |activation| · ‖its row of the down projection‖, for heads ‖output‖ · the root-mean-square gain of
   * its rows of the output projection. Calling it costs what dense costs; controls and training do.
   */
  select(site: Site, layer: number, x: Tensor, truth: () => Tensor): Selection;

  /**
   * Neurons whose |activation| is at or below this are not carried into what follows the activation
   * (up and down projections); 0 leaves out exact zeros, which changes nothing but the bytes read.
   * Absent: every selected neuron is carried.
   */
  readonly cut?: number;
}

import { magnitude } from '../../ops/elementwise.ts';
import { selectAbove } from '../../ops/select.ts';
import type { Recorder } from '../../program.ts';
import type { Selector } from '../../selector.ts';
import { reshape } from '../../tensor.ts';

/**
 * Carry neurons whose |activation| is above a threshold, for any row of the step: one for all layers, or
 * one a layer. 0 leaves out exact zeros alone, which changes nothing but the bytes read.
 *
 * `weighted`: |activation| · ‖its row of the down projection‖ is compared, as WINA does (arXiv 2505.19427).
 */
export const carryAbove =
  (
    g: Recorder,
    thresholds: number | readonly number[],
    { weighted = false } = {},
  ): NonNullable<Selector['carry']> =>
  (layer, { values, within, norms }) => {
    const threshold = typeof thresholds === 'number' ? thresholds : thresholds[layer];
    const scores = weighted ? magnitude(g, reshape(values, [...values.shape, 1]), norms()) : values;
    return selectAbove(g, scores, threshold, { within, magnitude: !weighted, shared: true });
  };

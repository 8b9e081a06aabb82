import type { Weights } from '../../model.ts';
import type { Activation } from '../../ops/activation.ts';
import { magnitude, multiply } from '../../ops/elementwise.ts';
import type { Recorder } from '../../program.ts';
import { asOperand, type Selection, type Selector } from '../../selector.ts';
import { reshape, type Tensor } from '../../tensor.ts';
import { project, projectBack } from './project.ts';

/**
 * The MLP of one block, plain or gated, computing only selected neurons.
 *
 * Weights `upProj`, `gateProj` (gated only) and `downProj`, all [F, E], lie under `prefix`, with
 * biases `.bias` where the checkpoint has them. Returns x's MLP output plus `add`, [T, E].
 */
export function mlp(
  g: Recorder,
  weights: Weights,
  sparsity: Selector,
  options: {
    prefix: string;
    layer: number;
    x: Tensor;
    add: Tensor | undefined;
    activation: Activation;
    gated: boolean;
  },
): Tensor {
  const { prefix, layer, x, add, activation, gated } = options;
  const norms = (): Tensor => weights.rowNorms(`${prefix}.downProj`, 1);

  /** Neuron activations [T, F] and which of them count. */
  const activations = (
    choice: Selection,
    asks?: Selector,
  ): [Tensor, Tensor | undefined] => {
    const chosen = asOperand(choice);
    const at = { prefix, layer, x, asks };
    const matrix = gated ? 'gateProj' : 'upProj';
    const first = project(g, weights, { ...at, matrix, select: chosen, activation });
    const carry = asks?.carry?.(layer, { values: first, within: chosen, norms }) ?? 'all';
    const carried = asOperand(carry) ?? chosen;
    if (!gated) return [first, carried];
    const up = project(g, weights, { ...at, matrix: 'upProj', select: carried });
    return [multiply(g, first, up, carried), carried];
  };

  const truth = (): Tensor => {
    const [h] = activations('all');
    return magnitude(g, reshape(h, [...h.shape, 1]), norms());
  };

  const [h, carried] = activations(sparsity.select('neurons', layer, x, truth), sparsity);
  return projectBack(g, weights, {
    ...{ prefix, matrix: 'downProj', layer, asks: sparsity },
    x: h,
    within: carried,
    residual: add,
  });
}

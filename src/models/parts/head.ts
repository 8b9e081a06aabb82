import type { Step, Weights } from '../../model.ts';
import { linear } from '../../ops/linear.ts';
import type { Recorder } from '../../program.ts';
import { slice, type Tensor } from '../../tensor.ts';

/** Names every family gives its token embedding and, where it is not tied to it, its output head. */
export const embeddingName = 'embedding';
export const headName = 'lmHead';

/** Record logits [T or 1, V] of the final hidden state [T, E]. */
export function logitsOf(g: Recorder, weights: Weights, hidden: Tensor, step: Step): Tensor {
  const x = step.logits === 'last' ? slice(hidden, hidden.shape[0] - 1, 1) : hidden;
  return linear(g, { x, w: weights.find(headName) ?? weights.get(embeddingName) });
}

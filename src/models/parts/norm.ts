import type { Weights } from '../../model.ts';
import { norm } from '../../ops/norm.ts';
import type { Recorder } from '../../program.ts';
import type { Tensor } from '../../tensor.ts';

/** Record the norm called `name` of x [T, E]; gain and bias are used where the model has them. */
export const namedNorm = (
  g: Recorder,
  weights: Weights,
  name: string,
  x: Tensor,
  options: { eps: number; rms?: boolean },
): Tensor =>
  norm(g, x, { weight: weights.find(name), bias: weights.find(`${name}.bias`), ...options });

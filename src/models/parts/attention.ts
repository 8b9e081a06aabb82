import type { CacheStep, Missing, Rotation } from '../../cache.ts';
import type { Weights } from '../../model.ts';
import { clamp, magnitude } from '../../ops/elementwise.ts';
import { asInput } from '../../ops/linear.ts';
import { linearMissing } from '../../ops/missing.ts';
import { blank, union } from '../../ops/union.ts';
import type { Recorder } from '../../program.ts';
import { asOperand, type Matrix, type Selection, type Selector } from '../../selector.ts';
import { reshape, size, type Tensor } from '../../tensor.ts';
import { namedNorm } from './norm.ts';
import { project, projectBack } from './project.ts';

export interface AttentionOptions {
  readonly prefix: string;
  readonly layer: number;
  /** [T, E] */
  readonly x: Tensor;
  /** [T, E] */
  readonly add: Tensor | undefined;
  readonly heads: number;
  readonly headDim: number;
  readonly rotation: Rotation | undefined;
  /** Default 1 / √headDim. */
  readonly scale?: number | undefined;
  /** Slopes of ALiBi, [H]. */
  readonly slopes?: Tensor | undefined;
  /** Keys a query sees, its own included; 0, the default: all. */
  readonly window?: number;
  /** Largest magnitude of queries, keys and values; the rest is cut off. */
  readonly clip?: number | undefined;
  /** Norms `qNorm` and `kNorm` of queries and keys, after clipping and before rotation. */
  readonly qkNorm?: {
    readonly eps: number;
    readonly rms: boolean;
    readonly of: 'each head' | 'all heads';
  };
}

/**
 * Attention of one block: keys and values, queries, attention and output of the selected heads. Keys
 * and values are those of all heads where the cache wants them, in steps of several rows say. A norm of
 * all heads' queries, or keys, together needs all of them.
 *
 * Weights `qProj` [H·D, E], `kProj` and `vProj` [G·D, E], `oProj` [H·D, E] (one row an input) lie under
 * `prefix`, with biases `.bias` where the checkpoint has them. Returns the output plus `add`, [T, E].
 */
export function attentionBlock(
  g: Recorder,
  weights: Weights,
  cache: CacheStep,
  sparsity: Selector,
  options: AttentionOptions,
): Tensor {
  const { prefix, layer, x, add, heads, headDim, rotation, slopes, window } = options;
  const { scale = 1 / Math.sqrt(headDim), clip, qkNorm } = options;
  const rows = x.shape[0];

  const projection = (name: string): { w: Tensor; bias: Tensor | undefined } => ({
    w: weights.get(`${prefix}.${name}`),
    bias: weights.find(`${prefix}.${name}.bias`),
  });
  const clipped = (on: Recorder, y: Tensor): Tensor =>
    clip === undefined ? y : clamp(on, y, clip);
  /** [T, N · D] of heads of any kind. */
  const headwise = (matrix: Matrix, asks: Selector | undefined, select?: Tensor): Tensor =>
    clipped(g, project(g, weights, { prefix, matrix, layer, x, asks, select, block: headDim }));
  /** [P, N · D] of what is missing. */
  const projectMissing = (on: Recorder, name: string, missing: Missing): Tensor =>
    clipped(on, linearMissing(on, { ...missing, ...projection(name), block: headDim }));
  const byHead = (y: Tensor): Tensor =>
    reshape(y, [y.shape[0], y.shape[1] / headDim, headDim]);
  const normed = (on: Recorder, name: string, y: Tensor): Tensor => {
    if (!qkNorm) return byHead(y);
    const apart = qkNorm.of === 'each head' ? reshape(y, [size(y.shape) / headDim, headDim]) : y;
    const { eps, rms } = qkNorm;
    const out = namedNorm(on, weights, `${prefix}.${name}`, apart, { eps, rms });
    return byHead(reshape(out, y.shape));
  };

  /** Heads that any row chose: weights are read once for all rows. */
  const together = (choice: Selection): Tensor | undefined => {
    const select = asOperand(choice);
    return select && union(g, select);
  };

  /**
   * Outputs [T, H, D] of the chosen heads; zeros where only other rows chose one, or nobody and inputs of
   * what follows are asked for. Without `asks`, a mere look: dense weights, and no token is scored.
   */
  const outputs = (choice: Selection, asks?: Selector): Tensor => {
    const asked = qkNorm?.of === 'all heads' ? undefined : together(choice);
    const q = normed(g, 'qNorm', headwise('qProj', asks, asked));
    const look = !asks;
    const y = cache.attend(layer, q, { rotation, heads: choice, scale, slopes, window, look });
    if (choice === 'all' || (choice.shape[0] === 1 && !asks?.inputs?.oProj)) return y;
    return blank(g, y, choice);
  };

  let stored = false;
  const storeAll = (): void => {
    if (stored) return;
    const k = normed(g, 'kNorm', headwise('kProj', sparsity));
    cache.store(layer, k, byHead(headwise('vProj', sparsity)), rotation);
    stored = true;
  };
  const choice = sparsity.select('heads', layer, x, () => {
    storeAll();
    return magnitude(g, outputs('all'), weights.rowNorms(`${prefix}.oProj`, headDim));
  });
  const input = asInput(g, x, projection('kProj').w);
  const byOutputs = !weights.byInputs(`${prefix}.kProj`) && !weights.byInputs(`${prefix}.vProj`);
  const alike = input === asInput(g, x, projection('vProj').w) && qkNorm?.of !== 'all heads';
  if (choice !== 'all' && !stored && byOutputs && alike && cache.storeFor)
    cache.storeFor(layer, choice, {
      x: input,
      rotation,
      make: (on, missing) => ({
        k: normed(on, 'kNorm', projectMissing(on, 'kProj', missing)),
        v: byHead(projectMissing(on, 'vProj', missing)),
      }),
    });
  else storeAll();
  return projectBack(g, weights, {
    ...{ prefix, matrix: 'oProj', layer, asks: sparsity },
    x: reshape(outputs(choice, sparsity), [rows, heads * headDim]),
    within: together(choice),
    block: headDim,
    residual: add,
  });
}

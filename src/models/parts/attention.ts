import type { CacheStep, Rotation } from '../../kv.ts';
import type { Weights } from '../../model.ts';
import { clamp, magnitude } from '../../ops/elementwise.ts';
import { linear } from '../../ops/linear.ts';
import { linearTransposed } from '../../ops/linear-transposed.ts';
import { blank, union } from '../../ops/union.ts';
import type { Recorder } from '../../program.ts';
import { asOperand, type Selection, type Selector } from '../../sparsity.ts';
import { reshape, size, type Tensor } from '../../tensor.ts';
import { namedNorm } from './norm.ts';

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
 * Attention of one block: all keys and values, then queries, attention and output of the selected
 * heads alone. A norm of all heads' queries together needs all of them.
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

  /** [T, N · D] of heads of any kind. */
  const project = (name: string, select?: Tensor): Tensor => {
    const w = weights.get(`${prefix}.${name}`);
    const bias = weights.find(`${prefix}.${name}.bias`);
    const y = linear(g, { x, w, bias, select, block: headDim });
    return clip === undefined ? y : clamp(g, y, clip);
  };
  const byHead = (y: Tensor): Tensor => reshape(y, [rows, y.shape[1] / headDim, headDim]);
  const normed = (name: string, y: Tensor): Tensor => {
    if (!qkNorm) return byHead(y);
    const apart = qkNorm.of === 'each head' ? reshape(y, [size(y.shape) / headDim, headDim]) : y;
    const { eps, rms } = qkNorm;
    const out = namedNorm(g, weights, `${prefix}.${name}`, apart, { eps, rms });
    return byHead(reshape(out, y.shape));
  };

  /** Heads that any row chose: weights are read once for all rows. */
  const together = (choice: Selection): Tensor | undefined => {
    const select = asOperand(choice);
    return select && union(g, select);
  };

  /** Outputs [T, H, D] of the chosen heads; zeros where only other rows chose one. */
  const outputs = (choice: Selection): Tensor => {
    const asked = qkNorm?.of === 'all heads' ? undefined : together(choice);
    const q = normed('qNorm', project('qProj', asked));
    const y = cache.attend(layer, q, { rotation, heads: choice, scale, slopes, window });
    return choice === 'all' || choice.shape[0] === 1 ? y : blank(g, y, choice);
  };

  cache.store(layer, normed('kNorm', project('kProj')), byHead(project('vProj')), rotation);
  const choice = sparsity.select('heads', layer, x, () =>
    magnitude(g, outputs('all'), weights.rowNorms(`${prefix}.oProj`, headDim)),
  );
  return linearTransposed(g, {
    x: reshape(outputs(choice), [rows, heads * headDim]),
    w: weights.get(`${prefix}.oProj`),
    bias: weights.find(`${prefix}.oProj.bias`),
    add,
    select: together(choice),
    block: headDim,
  });
}

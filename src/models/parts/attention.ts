import type { CacheStep, Rotation } from '../../kv.ts';
import type { Weights } from '../../model.ts';
import { magnitude } from '../../ops/elementwise.ts';
import { linear } from '../../ops/linear.ts';
import { linearTransposed } from '../../ops/linear-transposed.ts';
import { blank, union } from '../../ops/union.ts';
import type { Recorder } from '../../program.ts';
import { asOperand, type Selection, type Selector } from '../../sparsity.ts';
import { reshape, type Tensor } from '../../tensor.ts';

/**
 * Attention of one block: all keys and values, then queries, attention and output of the selected
 * heads alone.
 *
 * Weights `qProj` [H·D, E], `kProj` and `vProj` [G·D, E], `oProj` [H·D, E] (one row an input) lie under
 * `prefix`, with biases `.bias` where the checkpoint has them. Returns the output plus `add`, [T, E].
 */
export function attentionBlock(
  g: Recorder,
  weights: Weights,
  cache: CacheStep,
  sparsity: Selector,
  options: {
    prefix: string;
    layer: number;
    x: Tensor;
    add: Tensor | undefined;
    heads: number;
    kvHeads: number;
    headDim: number;
    rotation: Rotation | undefined;
    scale?: number;
  },
): Tensor {
  const { prefix, layer, x, add, heads, kvHeads, headDim, rotation } = options;
  const scale = options.scale ?? 1 / Math.sqrt(headDim);
  const rows = x.shape[0];
  const project = (name: string, count: number, select?: Tensor): Tensor => {
    const w = weights.get(`${prefix}.${name}`);
    const bias = weights.find(`${prefix}.${name}.bias`);
    return reshape(linear(g, { x, w, bias, select, block: headDim }), [rows, count, headDim]);
  };

  /** Heads that any row chose: weights are read once for all rows. */
  const together = (choice: Selection): Tensor | undefined => {
    const select = asOperand(choice);
    return select && union(g, select);
  };

  /** Outputs [T, H, D] of the chosen heads; zeros where only other rows chose one. */
  const outputs = (choice: Selection): Tensor => {
    const q = project('qProj', heads, together(choice));
    const y = cache.attend(layer, q, { rotation, heads: choice, scale });
    return choice === 'all' || choice.shape[0] === 1 ? y : blank(g, y, choice);
  };

  cache.store(layer, project('kProj', kvHeads), project('vProj', kvHeads), rotation);
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

import { EngineError } from '../../errors.ts';
import type { Weights } from '../../model.ts';
import { activate } from '../../ops/activate.ts';
import type { Activation } from '../../ops/activation.ts';
import { add } from '../../ops/elementwise.ts';
import { linear } from '../../ops/linear.ts';
import { linearTransposed } from '../../ops/linear-transposed.ts';
import type { Recorder } from '../../program.ts';
import { asOperand, type InputChoice, type Matrix, type Selector } from '../../selector.ts';
import type { Tensor } from '../../tensor.ts';

/** A matrix of block `layer`, its bias `.bias` beside it, and what it multiplies. */
interface Product {
  readonly prefix: string;
  readonly matrix: Matrix;
  readonly layer: number;
  /** [T, inputs] */
  readonly x: Tensor;
  /** Who is asked which inputs to read. Absent: all are. */
  readonly asks: Selector | undefined;
}

/** A matrix by its name, with its bias. */
const find = (weights: Weights, name: string): { w: Tensor; bias: Tensor | undefined } => ({
  w: weights.get(name),
  bias: weights.find(`${name}.bias`),
});

/** What the method says of the inputs of a matrix; undefined where it has nothing to say. */
const chooseInputs = (
  weights: Weights,
  { prefix, matrix, layer, x, asks }: Product,
  within: Tensor | undefined,
): InputChoice | undefined =>
  asks?.inputs?.[matrix]?.(layer, {
    ...{ values: x, within },
    norms: () => weights.rowNorms(`${prefix}.${matrix}`, 1),
  });

/**
 * Record a projection of the hidden state, act(w · x + bias): of selected blocks of outputs where the matrix
 * lies by outputs, of selected inputs where it lies by inputs. Returns [T, outputs].
 */
export function project(
  g: Recorder,
  weights: Weights,
  product: Product & {
    readonly select?: Tensor | undefined;
    readonly block?: number;
    readonly activation?: Activation;
  },
): Tensor {
  const { prefix, matrix, x, asks, select, block = 1, activation = 'none' } = product;
  const name = `${prefix}.${matrix}`;
  if (!weights.byInputs(name)) {
    if (asks?.inputs?.[matrix])
      throw new EngineError(
        'BAD_REQUEST',
        `${name}: a method selects its inputs, but it lies one row an output; expected one row an input; name ${matrix} in the method's \`inputs\` and open the engine with this method as \`sparsity\``,
      );
    return linear(g, { x, ...find(weights, name), select, block, activation });
  }
  const choice = chooseInputs(weights, product, undefined);
  const y = linearTransposed(g, {
    ...{ x, ...find(weights, name), add: choice?.rest },
    select: choice && asOperand(choice.select),
  });
  return activate(g, y, activation);
}

/**
 * Record a projection into the hidden state, of blocks of inputs `within` alone, or of the single inputs that
 * the method selects. Returns [T, E], with `residual` added.
 */
export function projectBack(
  g: Recorder,
  weights: Weights,
  product: Product & {
    readonly within: Tensor | undefined;
    readonly block?: number;
    readonly residual: Tensor | undefined;
  },
): Tensor {
  const { prefix, matrix, x, within, block = 1, residual } = product;
  // Of larger blocks, whoever calls has put zeros where nothing was computed.
  const choice = chooseInputs(weights, product, block === 1 ? within : undefined);
  const select = choice && asOperand(choice.select);
  const rest = choice?.rest;
  return linearTransposed(g, {
    ...{ x, ...find(weights, `${prefix}.${matrix}`) },
    add: rest && residual ? add(g, residual, rest) : (rest ?? residual),
    select: select ?? within,
    block: select ? 1 : block,
  });
}

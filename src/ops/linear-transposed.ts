import { EngineError } from '../errors.ts';
import { f32, rowReader } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import { type Tensor } from '../tensor.ts';
import { rowReads } from './linear.ts';
import { selected } from './selection.ts';
import { bind, expectSelection, expectType, weightTypes } from './shape.ts';

/**
 * y[t] = add[t] + bias + Σ_n x[t, n] · w[n], over every input n, or only those selected.
 *
 * The down projection and the heads' output projection, stored neuron-major: what one input
 * contributes is one row of `w`, so a skipped input is a row that is not read. Each output adds its
 * terms in an order that follows from the shape alone, bias and `add` last, whatever the threads and
 * whatever is selected: leaving out zero terms changes nothing. A backend may round what a 4-bit code
 * is multiplied by, x times the code's scale, to 15 bits of the largest.
 *
 * Eight rows of x and more that share their inputs may be multiplied in another order, a panel of weights
 * at a time; where weights are quantized, a backend may round both factors to bf16 then, whose products
 * and sums are f32.
 */
export const linearTransposedOp: Op<'x' | 'w' | 'bias' | 'add' | 'select' | 'y', 'block'> = {
  name: 'linearTransposed',
  operands: ['x', 'w', 'bias', 'add', 'select', 'y'],
  writes: ['y'],
  params: ['block'],

  check(t, { block }) {
    const { T = 0, N = 0 } = bind(
      'linearTransposed',
      { x: 'T N', w: 'N E', 'bias?': 'E', 'add?': 'T E', y: 'T E' },
      t,
    );
    expectType('linearTransposed', 'w', t.w, ...weightTypes);
    if (N % block)
      throw new EngineError('BAD_SHAPE', `linearTransposed: ${N} rows in blocks of ${block}`);
    expectSelection('linearTransposed', t.select, T, N / block);
  },

  reads: ({ w, select }, { block }) => rowReads(w!, select, block),

  reference({ x, w, bias, add, select, y }, { block }) {
    const [T = 0, N = 0] = x!.shape;
    const E = w!.shape[1];
    const [input, out] = [f32(x!), f32(y!)];
    const [offset, residual] = [bias && f32(bias), add && f32(add)];
    const weights = rowReader(w!);
    const row = new Float32Array(E);
    const sum = new Float64Array(E);
    for (let t = 0; t < T; t++) {
      sum.fill(0);
      for (const index of selected(select, t, N / block))
        for (let n = index * block; n < (index + 1) * block; n++) {
          weights(n, row);
          for (let e = 0; e < E; e++) sum[e] += input[t * N + n] * row[e];
        }
      for (let e = 0; e < E; e++)
        out[t * E + e] = sum[e] + (offset?.[e] ?? 0) + (residual?.[t * E + e] ?? 0);
    }
  },
};

export interface LinearTransposedInput {
  /** [T, N] */
  readonly x: Tensor;
  /** [N, E], one row an input */
  readonly w: Tensor;
  /** [E] */
  readonly bias?: Tensor | undefined;
  /** [T, E], added to the result: the residual stream. */
  readonly add?: Tensor | undefined;
  /** Blocks of inputs to use; default all. */
  readonly select?: Tensor | undefined;
  readonly block?: number;
}

/** Record a `linearTransposed`; returns y [T, E]. */
export function linearTransposed(g: Recorder, input: LinearTransposedInput): Tensor {
  const { x, w, bias, add, select, block = 1 } = input;
  const y = g.scratch('f32', [x.shape[0], w.shape[1]]);
  g.record(linearTransposedOp, { x, w, bias, add, select, y }, { block });
  return y;
}

import { EngineError } from '../errors.ts';
import { f32, rowReader } from '../rows.ts';
import type { Op, Read } from '../op.ts';
import type { Recorder } from '../program.ts';
import { isQuantized, rowBytes, type Tensor } from '../tensor.ts';
import { activate, type Activation, activationCode, activationOf } from './activation.ts';
import { encode } from './encode.ts';
import { selected } from './selection.ts';
import { bind, expectSelection, expectType, weightTypes } from './shape.ts';

/**
 * y[t, n] = act(x[t] · w[n] + bias[n]), for every output n, or only those selected.
 *
 * x is f32, or, where w is quantized, `int8` rows: products within a group of 32 are then of
 * integers, and the activations' rounding is all that is lost. For eight and more of them a backend may
 * round both factors to bf16 instead: their products and sums are f32.
 *
 * Each index of a selection stands for `block` consecutive outputs (a head's rows, say). Outputs lie
 * in their own places; those not selected are not written. Skipped rows of `w` are not read.
 */
export const linearOp: Op<'x' | 'w' | 'bias' | 'select' | 'y', 'activation' | 'block'> = {
  name: 'linear',
  operands: ['x', 'w', 'bias', 'select', 'y'],
  writes: ['y'],
  params: ['activation', 'block'],

  check(t, { activation, block }) {
    activationOf(activation);
    const { T, N } = bind('linear', { x: 'T E', w: 'N E', 'bias?': 'N', y: 'T N' }, t) as Sizes;
    expectType('linear', 'w', t.w, ...weightTypes);
    const rounded = isQuantized(t.w!.dtype) ? (['int8'] as const) : [];
    expectType('linear', 'x', t.x, 'f32', ...rounded);
    if (N % block) throw new EngineError('BAD_SHAPE', `linear: ${N} rows in blocks of ${block}`);
    expectSelection('linear', t.select, T, N / block);
  },

  reads: ({ w, select }, { block }) => rowReads(w!, select, block),

  reference({ x, w, bias, select, y }, { activation, block }) {
    const [T = 0, E = 0] = x!.shape;
    const N = w!.shape[0];
    const [out, offset] = [f32(y!), bias && f32(bias)];
    const [inputs, weights] = [rowReader(x!), rowReader(w!)];
    const [input, row] = [new Float32Array(E), new Float32Array(E)];
    for (let t = 0; t < T; t++) {
      inputs(t, input);
      for (const index of selected(select, t, N / block))
        for (let n = index * block; n < (index + 1) * block; n++) {
          weights(n, row);
          let sum = 0;
          for (let e = 0; e < E; e++) sum += input[e] * row[e];
          out[t * N + n] = activate(activation, sum + (offset ? offset[n] : 0));
        }
    }
  },
};

type Sizes = Record<'T' | 'E' | 'N', number>;

/** Weight bytes of `w`'s rows: all, or `block` rows for each index selected. */
export function rowReads(w: Tensor, select: Tensor | undefined, block: number): Read[] {
  const [rows = 0, columns = 0] = w.shape;
  const bytes = rowBytes(w.dtype, columns) * (select ? block : rows);
  return [{ role: w.role, bytes, select }];
}

export interface LinearInput {
  /** [T, E] */
  readonly x: Tensor;
  /** [N, E] */
  readonly w: Tensor;
  /** [N] */
  readonly bias?: Tensor | undefined;
  /** Blocks of outputs to compute; default all. */
  readonly select?: Tensor | undefined;
  readonly block?: number;
  readonly activation?: Activation;
}

/** What a product with `w` takes of x: itself, or where activations are rounded, its rounding. */
export const asInput = (g: Recorder, x: Tensor, w: Tensor): Tensor =>
  g.roundsActivations && isQuantized(w.dtype) ? g.once(x, () => encode(g, x, 'int8')) : x;

/** Record a `linear`; returns y [T, N]. */
export function linear(g: Recorder, input: LinearInput): Tensor {
  const { w, bias, select, block = 1, activation = 'none' } = input;
  const x = asInput(g, input.x, w);
  const y = g.scratch('f32', [x.shape[0], w.shape[0]]);
  g.record(linearOp, { x, w, bias, select, y }, { activation: activationCode(activation), block });
  return y;
}

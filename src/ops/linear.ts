import { EngineError } from '../errors.ts';
import { f32, rowReader } from '../rows.ts';
import type { Case, Op, Read } from '../op.ts';
import type { Recorder } from '../program.ts';
import { isQuantized, rowBytes, type Tensor } from '../tensor.ts';
import {
  activate,
  type Activation,
  activationCode,
  activationOf,
  activations,
} from './activation.ts';
import { encode } from './encode.ts';
import { Inputs, output, tileTolerance } from './cases.ts';
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

  cases() {
    const random = new Inputs(1);
    const make = (
      T: number,
      E: number,
      N: number,
      options: {
        x?: 'f32' | 'int8';
        w?: (typeof weightTypes)[number];
        bias?: boolean;
        share?: number;
        rows?: number;
        block?: number;
        activation?: Activation;
      } = {},
    ): Case<'x' | 'w' | 'bias' | 'select' | 'y', 'activation' | 'block'> => {
      const { x = 'f32', w = 'f32', share, rows = 1, block = 1, activation = 'none' } = options;
      return {
        name: `[${T},${E}]x[${N},${E}] ${JSON.stringify(options)}`,
        operands: {
          x: random.numbers([T, E], x),
          w: random.numbers([N, E], w),
          bias: options.bias ? random.numbers([N]) : undefined,
          select: share === undefined ? undefined : random.selection(rows, N / block, share),
          y: output([T, N]),
        },
        params: { activation: activationCode(activation), block },
        ...(x === 'int8' && T >= 8 && { tileTolerance }),
      };
    };
    return [
      make(1, 1, 1),
      make(1, 7, 3, { bias: true }),
      ...weightTypes.flatMap((w) => [
        make(1, 64, 33, { w, bias: true, activation: 'relu' }),
        make(1, 301, 130, { w }),
        make(3, 95, 17, { w, bias: true, activation: 'silu' }),
        make(2, 1100, 9, { w }),
        make(37, 130, 51, { w, activation: 'gelu' }),
        make(1, 257, 40, { w, share: 0 }),
        make(1, 257, 40, { w, share: 0.05, bias: true }),
        make(1, 257, 40, { w, share: 1, activation: 'geluTanh' }),
        make(1, 48, 64, { w, share: 0.5, block: 16 }),
        make(5, 48, 64, { w, share: 0.5, rows: 5, block: 16 }),
        make(5, 48, 64, { w, share: 0.5, rows: 1 }),
      ]),
      ...weightTypes
        .filter(isQuantized)
        .flatMap((w) => [
          make(1, 1, 1, { x: 'int8', w }),
          make(1, 31, 5, { x: 'int8', w, bias: true, activation: 'relu' }),
          make(1, 96, 33, { x: 'int8', w }),
          make(1, 128, 70, { x: 'int8', w, bias: true }),
          make(1, 256, 40, { x: 'int8', w, share: 0.5, bias: true }),
          make(3, 384, 21, { x: 'int8', w, bias: true, activation: 'relu' }),
          make(3, 301, 17, { x: 'int8', w, activation: 'silu' }),
          make(9, 1100, 7, { x: 'int8', w }),
          make(1, 257, 40, { x: 'int8', w, share: 0 }),
          make(1, 257, 40, { x: 'int8', w, share: 0.3 }),
          make(5, 48, 64, { x: 'int8', w, share: 0.5, rows: 5, block: 16 }),
          make(9, 48, 64, { x: 'int8', w, share: 0.5, rows: 9, block: 16 }),
          make(6, 300, 45, { x: 'int8', w, bias: true }),
          make(7, 544, 70, { x: 'int8', w, share: 0.4, block: 10 }),
          make(16, 95, 31, { x: 'int8', w, bias: true }),
          make(32, 160, 40, { x: 'int8', w, activation: 'relu' }),
          make(17, 1063, 65, { x: 'int8', w, activation: 'silu' }),
          make(33, 512, 130, { x: 'int8', w, share: 0.3, bias: true }),
          make(8, 257, 40, { x: 'int8', w, share: 0 }),
        ]),
      ...activations.map((activation) => make(2, 33, 19, { activation })),
    ];
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

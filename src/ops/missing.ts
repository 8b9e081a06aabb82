import { EngineError } from '../errors.ts';
import { f32, i32, rowReader, rowWriter } from '../rows.ts';
import type { HostTensor, Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import { isQuantized, type Tensor } from '../tensor.ts';
import { cacheTypes } from './attention.ts';
import { rowReads } from './linear.ts';
import { turn } from './rotary.ts';
import { selected } from './selection.ts';
import { bind, expectSelection, expectType, weightTypes } from './shape.ts';

/** Rows that heads miss, as `backlog` tells them. */
interface Gaps {
  readonly sequence: number;
  /** Positions [from, end) of each chosen head. */
  readonly heads: readonly { readonly head: number; readonly from: number }[];
  readonly end: number;
}

function gaps(chosen: HostTensor, missing: HostTensor): Gaps {
  const [sequence, end, ...from] = i32(missing);
  const heads = Array.from(selected(chosen, 0, from.length), (head) => ({
    head,
    from: from[head],
  }));
  return { sequence, end, heads };
}

/**
 * y[p mod P, n] = ring[p mod P] · w[n] + bias[n] of the text's own ring, for each chosen head, its `block`
 * outputs n and its missing positions p: bit for bit what `linear` gives for each row. The rest of y is
 * not written, rows of w of other heads are not read, and those of a chosen head once.
 */
export const linearMissingOp: Op<'ring' | 'w' | 'bias' | 'chosen' | 'missing' | 'y', 'block'> = {
  name: 'linearMissing',
  operands: ['ring', 'w', 'bias', 'chosen', 'missing', 'y'],
  writes: ['y'],
  params: ['block'],
  check(t, { block }) {
    const shapes = { ring: 'B P E', w: 'N E', 'bias?': 'N', y: 'P N' };
    const { N = 0 } = bind('linearMissing', shapes, t);
    expectType('linearMissing', 'w', t.w, ...weightTypes);
    const rounded = isQuantized(t.w!.dtype) ? (['int8'] as const) : [];
    expectType('linearMissing', 'ring', t.ring, 'f32', ...rounded);
    if (N % block)
      throw new EngineError('BAD_SHAPE', `linearMissing: ${N} rows in blocks of ${block}`);
    expectGaps('linearMissing', t, N / block);
  },
  reads: ({ w, chosen }, { block }) => rowReads(w!, chosen, block),
  reference({ ring, w, bias, chosen, missing, y }, { block }) {
    const [, P = 1, E = 0] = ring!.shape;
    const N = w!.shape[0];
    const [out, offset] = [f32(y!), bias && f32(bias)];
    const [inputs, weights] = [rowReader(ring!), rowReader(w!)];
    const [input, row] = [new Float32Array(E), new Float32Array(E)];
    const { sequence, heads, end } = gaps(chosen!, missing!);
    for (const { head, from } of heads)
      for (let p = from; p < end; p++) {
        inputs(sequence * P + (p % P), input);
        for (let n = head * block; n < (head + 1) * block; n++) {
          weights(n, row);
          let sum = 0;
          for (let e = 0; e < E; e++) sum += input[e] * row[e];
          out[(p % P) * N + n] = sum + (offset ? offset[n] : 0);
        }
      }
  },
};

function expectGaps(
  op: string,
  t: { readonly chosen?: Tensor | undefined; readonly missing?: Tensor | undefined },
  heads: number,
): void {
  bind(op, { chosen: `1 ${1 + heads}`, missing: String(2 + heads) }, t);
  expectSelection(op, t.chosen, 1, heads);
  expectType(op, 'missing', t.missing, 'i32');
}

export interface LinearMissingInput {
  /** [B, P, E] */
  readonly ring: Tensor;
  /** [N, E] */
  readonly w: Tensor;
  /** [N] */
  readonly bias?: Tensor | undefined;
  /** As `backlog` gives them. */
  readonly chosen: Tensor;
  readonly missing: Tensor;
  /** Outputs of one head. */
  readonly block: number;
}

/** Record a `linearMissing`; returns y [P, N]. */
export function linearMissing(g: Recorder, { block, ...operands }: LinearMissingInput): Tensor {
  const y = g.scratch('f32', [operands.ring.shape[1], operands.w.shape[0]]);
  g.record(linearMissingOp, { ...operands, y }, { block });
  return y;
}

/**
 * cache[sequence, g, p] = x[p mod P, g], turned by angles[p mod P] as `rotary` does where there are any, for
 * each chosen head g and its missing positions p.
 */
export const storeMissingOp: Op<'x' | 'angles' | 'chosen' | 'missing' | 'cache', never> = {
  name: 'storeMissing',
  operands: ['x', 'angles', 'chosen', 'missing', 'cache'],
  writes: ['cache'],
  params: [],
  check(t) {
    const shapes = { x: 'P G D', 'angles?': 'P R', cache: 'B G S D' };
    const { G = 0 } = bind('storeMissing', shapes, t);
    expectType('storeMissing', 'cache', t.cache, ...cacheTypes);
    expectGaps('storeMissing', t, G);
  },
  reads: () => [],
  reference({ x, angles, chosen, missing, cache }) {
    const [P = 1, G = 0, D = 0] = x!.shape;
    const S = cache!.shape[2];
    const R = angles ? angles.shape[1] : 0;
    const [input, table, write] = [f32(x!), angles && f32(angles), rowWriter(cache!)];
    const { sequence, heads, end } = gaps(chosen!, missing!);
    for (const { head, from } of heads)
      for (let p = from; p < end; p++) {
        const row = input.slice(((p % P) * G + head) * D, ((p % P) * G + head + 1) * D);
        if (table) turn(row, table, p % P, R);
        write((sequence * G + head) * S + p, row);
      }
  },
};

/** Record the storing of x [P, G, D], turned by angles [P, R], where heads miss it. */
export function storeMissing(
  g: Recorder,
  operands: {
    x: Tensor;
    angles: Tensor | undefined;
    chosen: Tensor;
    missing: Tensor;
    cache: Tensor;
  },
): void {
  g.record(storeMissingOp, operands, {});
}

import { EngineError } from '../errors.ts';
import { f32, hostTensor, i32, rowReader, rowWriter } from '../rows.ts';
import type { Case, HostTensor, Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import { isQuantized, type Tensor } from '../tensor.ts';
import { type CacheType, cacheTypes } from './attention.ts';
import { backlogOp } from './backlog.ts';
import { Inputs, output } from './cases.ts';
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
  cases() {
    const random = new Inputs(73);
    const make = (
      E: number,
      D: number,
      { x = 'f32', w = 'f32', bias = false, share = 0.5, ...rest }: MissingOptions,
    ): Case<'ring' | 'w' | 'bias' | 'chosen' | 'missing' | 'y', 'block'> => {
      const { end = 37, known = [36, 22, 21, 30, 36, 35, 33, 24, 36] } = rest;
      const N = D * known.length;
      return {
        name: `E ${E} D ${D} ${JSON.stringify({ x, w, bias, share, ...rest })}`,
        operands: {
          ring: random.numbers([2, 16, E], x),
          w: random.numbers([N, E], w),
          bias: bias ? random.numbers([N]) : undefined,
          ...behind(random, known, end, share),
          y: output([16, N]),
        },
        params: { block: D },
      };
    };
    return [
      make(1, 1, {}),
      make(7, 3, { bias: true, share: 1 }),
      ...Array.from({ length: 16 }, (_, n) =>
        make(40, 5, { w: 'f16', known: [20 - n], end: 21, share: 1 }),
      ),
      ...weightTypes.flatMap((w) => [
        make(95, 5, { w, bias: true }),
        make(64, 40, { w, share: 1 }),
        make(301, 3, { w, share: 0 }),
      ]),
      ...weightTypes
        .filter(isQuantized)
        .flatMap((w) => [
          make(31, 5, { x: 'int8', w, bias: true, share: 1 }),
          make(96, 33, { x: 'int8', w }),
          make(301, 4, { x: 'int8', w, bias: true }),
          make(1100, 3, { x: 'int8', w }),
          make(48, 16, { x: 'int8', w, share: 0 }),
          make(64, 64, { x: 'int8', w, known: [20], end: 21, share: 1 }),
          make(64, 9, { x: 'int8', w, known: [5], end: 21, share: 1 }),
        ]),
    ];
  },
};

interface MissingOptions {
  readonly x?: 'f32' | 'int8';
  readonly w?: (typeof weightTypes)[number];
  readonly bias?: boolean;
  readonly share?: number;
  readonly known?: readonly number[];
  readonly end?: number;
}

/** What heads of the second text miss up to `end`, where a share of them is wanted. */
function behind(
  random: Inputs,
  known: readonly number[],
  end: number,
  share: number,
): { chosen: HostTensor; missing: HostTensor } {
  const G = known.length;
  const [chosen, missing] = [hostTensor('u32', [1, 1 + G]), hostTensor('i32', [2 + G])];
  const operands = {
    select: random.selection(1, G, share),
    sequences: random.integers([1]),
    positions: random.integers([end - 1]),
    complete: random.integers([0]),
    known: random.integers([...known, ...known], [2, G]),
    chosen,
    missing,
  };
  backlogOp.reference(operands, { rows: 16, fresh: 1 });
  return { chosen, missing };
}

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
  cases() {
    const random = new Inputs(74);
    const make = (share: number, R: number, type: CacheType, D = 7) => ({
      name: `${type} D ${D} share ${share} R ${R}`,
      operands: {
        x: random.numbers([16, 4, D]),
        angles: R ? random.numbers([16, R & ~1]) : undefined,
        ...behind(random, [25, 10, 24, 17], 26, share),
        cache: random.numbers([2, 4, 29, D], type),
      },
      params: {},
    });
    return [
      ...[0, 0.5, 2].flatMap((share) => [0, 4, 7].map((R) => make(share, R, 'f32'))),
      ...cacheTypes.flatMap((type) => [make(0.5, 0, type, 40), make(2, 0, type, 64)]),
    ];
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

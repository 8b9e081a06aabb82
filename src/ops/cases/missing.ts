import { hostTensor } from '../../rows.ts';
import type { Case, HostTensor } from '../../op.ts';
import { backlogOp } from '../backlog.ts';
import { weightTypes } from '../shape.ts';
import { isQuantized } from '../../tensor.ts';
import { type CacheType, cacheTypes } from '../attention.ts';
import { casesOf, Inputs, output } from './inputs.ts';
import { linearMissingOp, storeMissingOp } from '../missing.ts';

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

export const linearMissing = casesOf(linearMissingOp, () => {
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
});

export const storeMissing = casesOf(storeMissingOp, () => {
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
});

import { hostTensor, i32 } from '../../rows.ts';
import type { Case, HostTensor } from '../../op.ts';
import {
  type AttentionOperand,
  type AttentionParam,
  type CacheType,
  cacheTypes,
} from '../attention.ts';
import { casesOf, Inputs, output } from './inputs.ts';
import { attentionOp, storeOp } from '../attention.ts';

interface CaseOptions {
  /** Share of heads that are selected, in this many rows of selections. Default: no selection. */
  readonly share?: number;
  readonly rows?: number;
  readonly alibi?: boolean;
  readonly window?: number;
  /** Slots of a text. Default 150. */
  readonly S?: number;
  readonly type?: CacheType;
  /** Texts of the rows. Default: of more than 3 rows they alternate, fewer are of text 1. */
  readonly texts?: readonly number[];
  /** Slots hold tokens in another order than they were stored in. */
  readonly places?: boolean;
  /** Keys are turned by their place: R. */
  readonly turned?: number;
  readonly sinks?: number;
  readonly recent?: number;
  readonly sinkQ?: boolean;
  readonly received?: boolean;
  readonly latest?: number;
}

const count = (first: number, n: number): number[] =>
  Array.from({ length: n }, (_, i) => first + i);

function caseOf(
  random: Inputs,
  [T = 1, H = 1, G = 1, D = 1]: readonly number[],
  slots: readonly number[],
  options: CaseOptions = {},
): Case<AttentionOperand, AttentionParam> {
  const { S = 150, type = 'f32', window = 0, sinks = 0, recent = 0, latest = 0 } = options;
  const texts = options.texts ?? Array.from({ length: T }, (_, t) => (T > 3 ? t % 2 : 1));
  return {
    name: `T ${T} H ${H} G ${G} D ${D} slots ${slots} ${JSON.stringify(options)}`,
    operands: {
      q: random.numbers([T, H, D]),
      keys: random.numbers([2, G, S, D], type),
      values: random.numbers([2, G, S, D], type),
      sequences: random.integers(texts),
      slots: random.integers(slots),
      select:
        options.share === undefined
          ? undefined
          : random.selection(options.rows ?? 1, H, options.share),
      slopes: options.alibi ? random.numbers([H]) : undefined,
      places: options.places ? shuffled(random, [2, G, S], texts, slots) : undefined,
      angles: options.turned ? random.numbers([S, options.turned]) : undefined,
      sinkQ: options.sinkQ ? random.numbers([T, H, D]) : undefined,
      y: output([T, H, D]),
      received: options.received ? output([2, H, S]) : undefined,
    },
    params: { scale: 1 / Math.sqrt(D), window, sinks, recent, latest },
  };
}

/** What every backend's attention is compared on. */
function attentionCases(): Case<AttentionOperand, AttentionParam>[] {
  const random = new Inputs(11);
  const make = (shape: readonly number[], slots: readonly number[], options?: CaseOptions) =>
    caseOf(random, shape, slots, options);
  return [
    make([1, 1, 1, 1], [0]),
    make([1, 4, 4, 16], [149]),
    make([1, 6, 2, 20], [77]),
    make([3, 4, 1, 64], [10, 11, 12]),
    make([5, 4, 2, 7], [140, 3, 0, 66, 13], { share: 0.5, rows: 5 }),
    make([1, 8, 2, 16], [90], { share: 0 }),
    make([1, 8, 2, 16], [90], { share: 0.4 }),
    make([1, 8, 8, 80], [33], { share: 1 }),
    make([1, 5, 5, 16], [149], { alibi: true }),
    make([3, 4, 1, 24], [30, 31, 32], { alibi: true, share: 0.5, rows: 1 }),
    make([1, 4, 2, 20], [77], { window: 19 }),
    make([1, 4, 2, 20], [77], { window: 78 }),
    make([3, 4, 2, 16], [3, 4, 5], { window: 5 }),
    make([3, 4, 4, 33], [40, 41, 42], { window: 1 }),
    make([3, 2, 1, 16], [140, 5, 60], { window: 9 }),
    make([5, 4, 2, 7], [140, 3, 0, 66, 13], { window: 12, alibi: true, share: 0.5, rows: 5 }),

    // Types of keys and values.
    ...(['f16', 'int8'] as const).flatMap((type) => [
      make([1, 4, 4, 16], [149], { type }),
      make([1, 6, 2, 20], [77], { type, window: 19 }),
      make([9, 4, 2, 72], count(60, 9), { type, texts: new Array<number>(9).fill(0) }),
      make([1, 4, 2, 64], [90], { type, places: true, turned: 64, received: true }),
      make([1, 4, 2, 40], [300], { type, sinks: 4, recent: 100, sinkQ: true }),
    ]),

    // Rings.
    make([1, 4, 2, 16], [5], { S: 40, sinks: 4, recent: 30, sinkQ: true }),
    make([1, 4, 2, 16], [0], { S: 40, sinks: 4, recent: 36, sinkQ: true }),
    make([1, 4, 4, 20], [39], { S: 40, sinks: 4, recent: 36, sinkQ: true }),
    make([1, 4, 4, 20], [40], { S: 40, sinks: 4, recent: 36, sinkQ: true }),
    make([1, 4, 2, 33], [1_000_003], { S: 41, sinks: 4, recent: 30, sinkQ: true, alibi: true }),
    make([1, 2, 1, 8], [77], { S: 20, recent: 20 }),
    make([1, 2, 1, 8], [77], { S: 20, recent: 1 }),
    make([1, 2, 1, 8], [77], { S: 20, sinks: 3, recent: 17, window: 9, sinkQ: true }),
    make([1, 2, 1, 8], [77], { S: 20, sinks: 3, recent: 17, window: 18, alibi: true }),
    make([7, 4, 2, 16], count(17, 7), {
      ...{ S: 30, sinks: 2, recent: 20, sinkQ: true, share: 0.6 },
      texts: new Array<number>(7).fill(1),
    }),
    make([4, 4, 2, 16], [3, 4, 200, 23], { S: 24, sinks: 2, recent: 20, texts: [0, 0, 1, 1] }),

    // Places, and keys turned by them.
    make([1, 4, 2, 20], [77], { places: true, alibi: true }),
    make([1, 4, 2, 20], [77], { places: true, window: 30 }),
    make([1, 4, 4, 16], [149], { places: true, turned: 8 }),
    make([1, 4, 4, 16], [149], { turned: 16 }),
    make([5, 6, 3, 32], count(70, 5), {
      ...{ places: true, turned: 32, received: true, share: 0.5 },
      texts: new Array<number>(5).fill(1),
    }),
    make([6, 4, 2, 24], count(20, 6), {
      ...{ places: true, alibi: true, window: 15 },
      texts: new Array<number>(6).fill(0),
    }),

    // What slots receive.
    make([1, 6, 2, 20], [77], { received: true }),
    make([1, 8, 2, 16], [90], { received: true, share: 0.4 }),
    make([1, 8, 2, 16], [90], { received: true, share: 0 }),
    make([2, 4, 4, 16], [90, 12], { received: true, share: 0.5, rows: 2, texts: [1, 0] }),
    make([11, 4, 1, 16], count(30, 11), { received: true, texts: new Array<number>(11).fill(1) }),
    make([11, 4, 2, 16], [...count(30, 6), ...count(0, 5)], {
      ...{ received: true, latest: 3, share: 0.7, rows: 11 },
      texts: [...new Array<number>(6).fill(1), ...new Array<number>(5).fill(0)],
    }),
    make([3, 4, 2, 16], [40, 41, 42], { received: true, window: 7, latest: 1 }),
  ];
}

/** Places [B, G, S]: in each text's slots up to its last row those rows' own places come last, in order. */
function shuffled(
  random: Inputs,
  [B = 0, G = 0, S = 0]: readonly number[],
  texts: readonly number[],
  slots: readonly number[],
): HostTensor {
  const places = hostTensor('i32', [B, G, S]);
  for (let b = 0; b < B; b++)
    for (let g = 0; g < G; g++) {
      const own = slots.filter((_, t) => texts[t] === b);
      const before = own.length ? Math.min(...own) : 0;
      const order = Array.from({ length: before }, (_, s) => ({ s, key: random.uniform() }));
      order.sort((a, b) => a.key - b.key);
      const at = i32(places).subarray((b * G + g) * S, (b * G + g + 1) * S);
      order.forEach(({ s }, place) => (at[s] = place));
      for (const s of own) at[s] = s;
    }
  return places;
}

export const store = casesOf(storeOp, () => {
  const random = new Inputs(10);
  return cacheTypes.flatMap((dtype) =>
    [5, 32, 80].map((D) => ({
      name: `${dtype} [3,2,${D}] into [2,2,7,${D}]`,
      operands: {
        x: random.numbers([3, 2, D]),
        sequences: random.integers([0, 1, 0]),
        slots: random.integers([6, 0, 13]),
        cache: random.numbers([2, 2, 7, D], dtype),
      },
      params: { sinks: 2 },
      tolerance: 0,
    })),
  );
});

export const attention = casesOf(attentionOp, attentionCases);

import type { Case, HostTensor } from '../../op.ts';
import { hostTensor, u32 } from '../../rows.ts';
import { casesOf, Inputs } from './inputs.ts';
import { cacheTypes } from '../attention.ts';
import { pageBoundsOp, pageScoresOp, choosePagesOp, attendPagesOp } from '../pages.ts';

/** Rows of two texts, the first of which has three. */
const rows = { sequences: [0, 0, 0, 1], slots: [14, 15, 16, 5] };

function pageBoundsCases(): Case<'k' | 'sequences' | 'slots' | 'bounds', 'page'>[] {
  const random = new Inputs(31);
  return [3, 16, 33].map((D) => ({
    name: `[4,2,${D}] into pages of 4`,
    operands: {
      k: random.numbers([4, 2, D]),
      sequences: random.integers(rows.sequences),
      slots: random.integers(rows.slots),
      bounds: random.numbers([2, 2, 6, 2 * D]),
    },
    params: { page: 4 },
    tolerance: 0,
  }));
}

function pageScoresCases(): Case<'q' | 'sequences' | 'slots' | 'bounds' | 'scores', 'page'>[] {
  const random = new Inputs(32);
  return [
    [2, 3],
    [2, 16],
    [6, 33],
    [4, 64],
  ].map(([H, D]) => ({
    name: `[4,${H},${D}] of pages of 4`,
    operands: {
      q: random.numbers([4, H, D]),
      sequences: random.integers(rows.sequences),
      slots: random.integers(rows.slots),
      bounds: random.numbers([2, 2, 6, 2 * D]),
      scores: hostTensor('f32', [4, 2, 6]),
    },
    params: { page: 4 },
  }));
}

function choosePagesCases(): Case<
  'scores' | 'slots' | 'select' | 'pages',
  'page' | 'sinks' | 'recent' | 'count' | 'heads'
>[] {
  const random = new Inputs(33);
  return [
    [1, 4, 4],
    [5, 3, 4],
    [0, 0, 2],
    [9, 6, 2],
    [1, 1, 40],
  ].flatMap(([sinks, recent, count]) =>
    [false, true].map((some) => ({
      name: `${sinks} first, ${recent} last, ${count} of [4,2,31]${some ? ' of some heads' : ''}`,
      operands: {
        scores: random.numbers([4, 2, 31]),
        slots: random.integers([3, 40, 99, 123]),
        select: some ? random.selection(4, 6, 0.3) : undefined,
        pages: hostTensor('u32', [8, 32]),
      },
      params: { page: 4, sinks, recent, count, heads: 6 },
      tolerance: 0,
    })),
  );
}

/** Every other page up to that of the row's slot, its own among them. */
function pagesOf(slots: readonly number[], G: number, P: number, page: number): HostTensor {
  const pages = hostTensor('u32', [slots.length * G, 1 + P]);
  slots.forEach((slot, t) => {
    for (let g = 0; g < G; g++) {
      const own = Math.floor(slot / page);
      const chosen = Array.from({ length: own + 1 }, (_, p) => p).filter(
        (p) => p === own || (p + g) % 2 === 0,
      );
      u32(pages).set([chosen.length, ...chosen], (t * G + g) * (1 + P));
    }
  });
  return pages;
}

function attendPagesCases(): Case<
  'q' | 'keys' | 'values' | 'sequences' | 'slots' | 'pages' | 'select' | 'slopes' | 'y',
  'scale' | 'window' | 'page'
>[] {
  const random = new Inputs(34);
  const make = (
    type: (typeof cacheTypes)[number],
    { H = 4, D = 16, page = 4, S = 30, window = 0, share = 1, alibi = false },
  ) => ({
    name: `${type} [3,${H},${D}] of [2,2,${S},${D}] by ${page}${window ? `, window ${window}` : ''}${share < 1 ? ', some heads' : ''}${alibi ? ', slopes' : ''}`,
    operands: {
      q: random.numbers([3, H, D]),
      keys: random.numbers([2, 2, S, D], type),
      values: random.numbers([2, 2, S, D], type),
      sequences: random.integers([0, 1, 0]),
      slots: random.integers([21, 29, 3]),
      pages: pagesOf([21, 29, 3], 2, Math.ceil(S / page), page),
      select: share < 1 ? random.selection(3, H, share) : undefined,
      slopes: alibi ? random.numbers([H]) : undefined,
      y: hostTensor('f32', [3, H, D]),
    },
    params: { scale: 0.3, window, page },
  });
  return [
    ...cacheTypes.flatMap((type) => [
      make(type, {}),
      make(type, { H: 6, D: 33, page: 16 }),
      make(type, { H: 2, D: 64, page: 16 }),
      make(type, { H: 16, D: 128, page: 5 }),
    ]),
    make('f32', { window: 9 }),
    make('f32', { window: 9, alibi: true }),
    make('f32', { share: 0.5 }),
    make('f16', { share: 0.5, alibi: true }),
  ];
}

export const pageBounds = casesOf(pageBoundsOp, pageBoundsCases);

export const pageScores = casesOf(pageScoresOp, pageScoresCases);

export const choosePages = casesOf(choosePagesOp, choosePagesCases);

export const attendPages = casesOf(attendPagesOp, attendPagesCases);

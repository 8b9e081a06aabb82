import { f32, hostTensor } from '../../rows.ts';
import { casesOf, Inputs } from './inputs.ts';
import { selectAboveOp, selectTopOp, noiseOp } from '../select.ts';

function quantized(t: ReturnType<typeof hostTensor>, steps: number): typeof t {
  const data = f32(t);
  data.forEach((x, i) => (data[i] = Math.round(x * steps) / steps));
  return t;
}

export const selectAbove = casesOf(selectAboveOp, () => {
  const random = new Inputs(12);
  const make = (R: number, C: number, N: number, threshold: number, magnitude: number) => ({
    name: `[${R},${N}] to ${C} threshold ${threshold} magnitude ${magnitude}`,
    operands: {
      scores: random.numbers([R, N]),
      within: magnitude ? random.selection(C, N, 0.5) : undefined,
      select: hostTensor('u32', [C, 1 + N]),
    },
    params: { threshold, magnitude },
  });
  return [1, 31, 200].flatMap((N) =>
    [0, 1].flatMap((magnitude) => [
      ...[-2, 0.3, 2].map((threshold) => make(2, 2, N, threshold, magnitude)),
      ...[-2, 0.9, 2].map((threshold) => make(5, 1, N, threshold, magnitude)),
    ]),
  );
});

export const selectTop = casesOf(selectTopOp, () => {
  const random = new Inputs(13);
  return [
    [1, 0],
    [1, 1],
    [40, 0],
    [40, 1],
    [40, 13],
    [40, 40],
    [300, 77],
  ].map(([N = 0, k = 0]) => ({
    name: `${k} of ${N}`,
    operands: {
      // Few distinct values, so that ties are met.
      scores: quantized(random.numbers([2, N]), N > 100 ? 1000 : 8),
      select: hostTensor('u32', [2, 1 + N]),
    },
    params: { k },
  }));
});

export const noise = casesOf(noiseOp, () => {
  const random = new Inputs(14);
  return [
    {
      name: '[3,65]',
      operands: {
        sequences: random.integers([0, 0, 5]),
        positions: random.integers([0, 7, 1_000_000]),
        y: hostTensor('f32', [3, 65]),
      },
      params: { seed: 42 },
      tolerance: 0,
    },
  ];
});

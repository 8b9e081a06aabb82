import { expect, it } from 'vitest';
import { neuronShare } from './method.ts';

const densities = [
  { neurons: 0.1, heads: 1 },
  { neurons: 0.2, heads: 1 },
];
const unions = [
  { rows: 2, neurons: [0.15, 0.3] },
  { rows: 8, neurons: [0.25, 0.6] },
];

it.each([
  [1, 0.1, 0.2],
  [2, 0.15, 0.3],
  [4, 0.2, 0.45],
  [8, 0.25, 0.6],
  // Twice as many rows as were measured: at most as dense as if the two halves were independent.
  [16, 1 - 0.75 ** 2, 1 - 0.4 ** 2],
])('%d rows together select what was measured', (rows, first, second) => {
  const point = { densities, unions };
  expect(neuronShare(point, 0, rows)).toBeCloseTo(first, 12);
  expect(neuronShare(point, 1, rows)).toBeCloseTo(second, 12);
});

it('where nothing was measured, rows are taken to be independent', () => {
  expect(neuronShare({ densities }, 1, 1)).toBeCloseTo(0.2, 12);
  expect(neuronShare({ densities }, 1, 3)).toBeCloseTo(1 - 0.8 ** 3, 12);
});

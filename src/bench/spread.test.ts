import { expect, test } from 'vitest';
import { ratio, spread } from './spread.ts';

test('median, least and most', () => {
  expect(spread([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
  expect(spread([4, 1, 2, 10])).toEqual({ median: 3, min: 1, max: 10 });
});

test('ratios are formed within a round', () => {
  // In every round the first is twice as fast, on a machine that slows down.
  expect(ratio([100, 40, 8], [50, 20, 4])).toEqual({ median: 2, min: 2, max: 2 });
  expect(ratio([10, 40], [10, 20])).toEqual({ median: 1.5, min: 1, max: 2 });
});

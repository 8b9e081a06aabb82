import { expect, test } from 'vitest';
import { mulberry32, uniform } from './random.ts';

test.each([uniform, mulberry32])('$name has uniform numbers in [0, 1)', (generator) => {
  const values = Array.from({ length: 10_000 }, generator(1));
  expect(Math.min(...values)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...values)).toBeLessThan(1);
  expect(values.reduce((a, b) => a + b) / values.length).toBeCloseTo(0.5, 1);
});

test('a seed gives the same numbers everywhere', () => {
  const first = (random: () => number): number[] => Array.from({ length: 3 }, random);
  expect(first(uniform(2 ** 40 + 7))).toEqual([
    0.4009358973708004, 0.8541155445855111, 0.5671990325208753,
  ]);
  expect(first(mulberry32(7))).toEqual([
    0.011704753153026104, 0.06195825757458806, 0.97690763277933,
  ]);
});

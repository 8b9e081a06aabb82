import { expect, it } from 'vitest';
import { EngineError } from '../errors.ts';
import { familyOf } from '../models/index.ts';
import { findShape, neuronShare, optThirds, shapes, stackOf } from './shapes.ts';

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b) / values.length;

it('thirds of OPT are those of the tables for one row and for 16', () => {
  expect(optThirds(1)).toEqual([0.034, 0.082, 0.165]);
  optThirds(16).forEach((share, i) => expect(share).toBeCloseTo([0.091, 0.403, 0.672][i], 12));
});

it.each([
  [2, 0.153],
  [4, 0.206],
  [8, 0.29],
  [64, 0.623],
  [256, 0.772],
  [1000, 0.772],
])('their mean for %d rows is near the table', (rows, share) => {
  // Thirds of 32 layers are not of equal size, and the tables were rounded.
  expect(mean(optThirds(rows))).toBeGreaterThan(share - 0.012);
  expect(mean(optThirds(rows))).toBeLessThan(share + 0.005);
});

it('they grow with every row, and stay shares', () => {
  for (let rows = 1; rows < 256; rows++)
    optThirds(rows).forEach((share, i) => {
      expect(share).toBeLessThan(optThirds(rows + 1)[i]);
      expect(optThirds(rows + 1)[i]).toBeLessThan(1);
    });
});

it('layers take the share of their third, rows of Llama shapes are independent', () => {
  const shares = [0, 7, 8, 15, 16, 23].map((layer) => neuronShare(findShape('opt-1.3b'), layer, 1));
  expect(shares).toEqual([0.034, 0.034, 0.082, 0.082, 0.165, 0.165]);
  expect(neuronShare(findShape('llama2-7b'), 3, 2)).toBeCloseTo(0.51, 12);
});

it.each(shapes.map((shape) => [shape.name, shape] as const))(
  '%s: a stack is its first layers, as dense as they are in the whole, and no vocabulary',
  (name, shape) => {
    const describe = (config: unknown) => {
      const family = familyOf(config, 'shape');
      return family.describe(family.config(config));
    };
    const stack = stackOf(shape, 9);
    expect(stack.name).toBe(`${name}, 9 of ${shape.of} layers`);
    expect(describe(shape.config).layers).toBe(shape.of);
    expect(describe(stack.config)).toEqual({
      ...describe(shape.config),
      layers: 9,
      vocabulary: 256,
    });
    for (let layer = 0; layer < 9; layer++)
      expect(neuronShare(stack, layer, 1)).toBe(neuronShare(shape, layer, 1));
    for (const layers of [0, 1.5, shape.of + 1])
      expect(() => stackOf(shape, layers)).toThrow(EngineError);
  },
);

import { describe, expect, test } from 'vitest';
import { f16ToF32 } from '../float16.ts';
import { hostTensor, rowReader, rowWriter } from '../rows.ts';
import { Inputs } from '../ops/cases/inputs.ts';
import { formatOf, modelTypes, type QuantizedType } from '../tensor.ts';
import { bestGrid, codeOf, type Grid } from './scale.ts';

const random = new Inputs(11);
/** Cubes have a few large values among small ones; `shift` moves them off zero. */
const numbers = (count: number, shift = 0): Float64Array =>
  Float64Array.from({ length: count }, () => (2 * random.uniform() - 1) ** 3 + shift);

const decode = (value: number, { step, minimum }: Grid, type: QuantizedType): number => {
  const [s, m] = [f16ToF32[step], f16ToF32[minimum]];
  return codeOf(value, s, m, formatOf(type)) * s + m;
};

type Weights = Float64Array | undefined;

const loss = (values: Float64Array, weights: Weights, type: QuantizedType): number => {
  const grid = bestGrid(values, weights, formatOf(type));
  return values.reduce(
    (sum, v, i) => sum + (weights?.[i] ?? 1) * (v - decode(v, grid, type)) ** 2,
    0,
  );
};

/** Of the grid that reaches the furthest elements. */
function usualLoss(values: Float64Array, weights: Weights, type: QuantizedType): number {
  const row = hostTensor(type, [1, values.length]);
  rowWriter(row)(0, Float32Array.from(values));
  const found = new Float32Array(values.length);
  rowReader(row)(0, found);
  return values.reduce((sum, v, i) => sum + (weights?.[i] ?? 1) * (v - found[i]) ** 2, 0);
}

const fourBits = modelTypes.filter((type) => formatOf(type).bits === 4);

describe.each(fourBits)('the grid of an %s group', (type) => {
  const { group } = formatOf(type);

  test.each([false, true])(
    'loses less than one that reaches its furthest; weighted %s',
    (weighted) => {
      let [found, plain] = [0, 0];
      for (let i = 0; i < 200; i++) {
        const values = numbers(group);
        const weights = weighted ? numbers(group).map(Math.abs) : undefined;
        const best = loss(values, weights, type);
        const usual = usualLoss(values, weights, type);
        expect(best).toBeLessThan(1.02 * usual);
        found += best;
        plain += usual;
      }
      expect(found).toBeLessThan(0.96 * plain);
    },
  );
});

test('a smaller group loses less, a minimum too where values are off zero', () => {
  const total = (type: QuantizedType, values: Float64Array): number => {
    const { group } = formatOf(type);
    let sum = 0;
    for (let first = 0; first < values.length; first += group)
      sum += loss(values.subarray(first, first + group), undefined, type);
    return sum;
  };
  for (const shift of [0, 2]) {
    const values = numbers(12_800, shift);
    const plain = (['int4', 'int4g64', 'int4g128'] as const).map((type) => total(type, values));
    const affine = (['int4z', 'int4g64z', 'int4g128z'] as const).map((type) => total(type, values));
    for (const losses of [plain, affine]) {
      expect(losses[0]).toBeLessThan(losses[1]);
      expect(losses[1]).toBeLessThan(losses[2]);
    }
    plain.forEach((loss, i) => expect(affine[i]).toBeLessThan((shift ? 0.5 : 1) * loss));
  }
});

describe.each(modelTypes)('%s', (type) => {
  const format = formatOf(type);

  test('zeros stay zeros', () => {
    const grid = bestGrid(new Float64Array(32), undefined, format);
    expect(Math.abs(decode(0, grid, type))).toBe(0);
  });

  test('equal values stay as they are, within the precision of their type', () => {
    for (const value of [1.2345, -77.7]) {
      const grid = bestGrid(new Float64Array(32).fill(value), undefined, format);
      expect(decode(value, grid, type) / value).toBeCloseTo(1, 3);
    }
  });

  test('values too small for f16 have a grid of numbers', () => {
    const { step, minimum } = bestGrid(new Float64Array(32).fill(1e-9), undefined, format);
    expect(Number.isFinite(f16ToF32[step] + f16ToF32[minimum])).toBe(true);
  });

  test('codes stay within their type', () => {
    expect([codeOf(900, 1, 0, format), codeOf(-900, 1, 0, format)]).toEqual([
      format.high,
      format.low,
    ]);
  });
});

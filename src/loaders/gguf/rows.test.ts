import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { rowReader } from '../../rows.ts';
import type { WeightType } from '../convert.ts';
import {
  convertBlocks,
  decodeBlocks,
  decodeColumns,
  quantizedType,
  quantizedTypes,
} from './rows.ts';

/** Random blocks, and what the PyPI package gguf decodes them to (test/data/gguf/blocks.py). */
const golden = JSON.parse(
  readFileSync(new URL('../../../test/data/gguf/blocks.json', import.meta.url), 'utf8'),
) as Record<string, { bytes: string; values: string }>;

const bytesOf = (base64: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(Buffer.from(base64, 'base64'));
const cases = Object.entries(golden).map(([name, { bytes, values }]) => ({
  name,
  type: quantizedType(name)!,
  bytes: bytesOf(bytes),
  values: new Float32Array(bytesOf(values).buffer),
}));

const decoded = (
  bytes: Uint8Array,
  dtype: WeightType,
  rows: number,
  columns: number,
): Float32Array => {
  const read = rowReader({ dtype, shape: [rows, columns], bytes });
  const values = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++)
    read(row, values.subarray(row * columns, (row + 1) * columns));
  return values;
};

/** Largest difference, as a share of the largest number. */
const distance = (a: Float32Array, b: Float32Array): number => {
  const largest = b.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0) / largest;
};

test('there is a golden block of every type that is decoded', () => {
  expect(Object.keys(golden).sort()).toEqual([...quantizedTypes].sort());
  expect(quantizedType('IQ2_XXS')).toBeUndefined();
  expect(quantizedType('toString')).toBeUndefined();
});

describe.each(cases)('$name', ({ name, type, bytes, values }) => {
  test('is decoded to the known numbers', () => {
    expect(distance(decodeBlocks(bytes, type.type), values)).toBeLessThan(1e-7);
  });

  test.each([1, 3])('becomes %d rows of ours', (rows) => {
    const columns = values.length / rows;
    for (const [to, tolerance] of [
      ['f32', 1e-7],
      ['f16', 5e-4],
      [type.keeps, nearly[name] ?? 1e-7],
    ] as const) {
      const made = convertBlocks(bytes, type, columns, to, 'test');
      expect(distance(decoded(made, to, rows, columns), values), to).toBeLessThan(tolerance);
    }
  });

  test('any band of columns is a band of rows of the transpose', () => {
    const [rows, width] = [3, values.length / 3];
    const [first, count] = width > type.block ? [type.block, width - type.block] : [0, width];
    const made = decodeColumns(bytes, type, { rows, width, first, count });
    const expected = Float32Array.from(
      { length: count * rows },
      (_, i) => values[(i % rows) * width + first + Math.floor(i / rows)],
    );
    expect(distance(new Float32Array(made.buffer), expected)).toBeLessThan(1e-7);
  });
});

/** Types whose numbers none of ours holds exactly, and how far they are off. */
const nearly: Readonly<Record<string, number>> = {
  IQ4_XS: 5e-4,
  Q4_K: 1e-3,
  Q5_1: 5e-3,
  Q2_K: 5e-3,
  Q3_K: 5e-3,
  Q5_K: 5e-3,
  Q6_K: 5e-3,
};

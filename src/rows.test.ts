import { describe, expect, it } from 'vitest';
import { f16ToF32, f32ToF16 } from './float16.ts';
import { hostTensor, rowReader, rowWriter } from './rows.ts';
import { type DType, formatOf, isQuantized, rowBytes } from './tensor.ts';

const roundTrip = (dtype: DType, values: number[][]): number[][] => {
  const tensor = hostTensor(dtype, [values.length, values[0].length]);
  const write = rowWriter(tensor);
  const read = rowReader(tensor);
  values.forEach((row, r) => write(r, Float32Array.from(row)));
  return values.map((row, r) => {
    const into = new Float32Array(row.length);
    read(r, into);
    return Array.from(into);
  });
};

const ramp = (columns: number): number[] =>
  Array.from({ length: columns }, (_, i) => Math.sin(1 + 3 * i) * (1 + (i % 7)));

describe('weight encodings', () => {
  it.each([
    ['f32', 1e-7],
    ['f16', 5e-4],
    ['int8', 0.5 / 127],
    ['int4', 1 / 8],
    ['int4g64', 1 / 8],
    ['int4g128', 1 / 8],
    ['int4z', 1 / 15],
    ['int4g64z', 1 / 15],
    ['int4g128z', 1 / 15],
  ] as const)('%s rows decode to what was encoded, within half a step', (dtype, step) => {
    const size = isQuantized(dtype) ? formatOf(dtype).group : 32;
    for (const columns of [1, 31, 32, 33, 96, 129, 224, 300]) {
      const values = [
        ramp(columns),
        ramp(columns).map((x) => -x),
        new Array<number>(columns).fill(0),
      ];
      const found = roundTrip(dtype, values);
      values.forEach((row, r) =>
        row.forEach((x, i) => {
          const group = row.slice(i - (i % size), i - (i % size) + size);
          const peak = Math.max(...group.map(Math.abs));
          expect(Math.abs(found[r][i] - x)).toBeLessThanOrEqual(peak * step * 1.01);
        }),
      );
    }
  });

  it.each(['int4z', 'int4g64z', 'int4g128z'] as const)(
    '%s codes span just what is there: half a step is a thirtieth of it',
    (dtype) => {
      const { group } = formatOf(dtype);
      for (const columns of [1, 33, 128, 300]) {
        const row = ramp(columns).map((x) => x / 100 + 5);
        const [found] = roundTrip(dtype, [row]);
        row.forEach((x, i) => {
          const start = i - (i % group);
          const values = row.slice(start, start + group);
          const range = Math.max(...values) - Math.min(...values);
          // The minimum is an f16 of about 5: as far off as 2 ** -9.
          expect(Math.abs(found[i] - x)).toBeLessThanOrEqual(range / 30 + 2 ** -9);
        });
      }
    },
  );

  it('keeps the elements of a group that are equal, whatever they are', () => {
    for (const dtype of ['int4z', 'int4g64z', 'int4g128z'] as const)
      for (const value of [0, 0.1, -3.3, 1000.7])
        for (const x of roundTrip(dtype, [new Array<number>(200).fill(value)])[0])
          // What the minimum lacks is 15 steps, of at least 2 ** -24.
          expect(Math.abs(x - value)).toBeLessThanOrEqual(Math.abs(value) * 1e-6 + 15 * 2 ** -25);
  });

  it('has four values of 2 bits, symmetric around zero: the nearest of what was encoded', () => {
    const { group } = formatOf('int2g128');
    for (const columns of [1, 31, 33, 128, 129, 300]) {
      const row = ramp(columns);
      const [found] = roundTrip('int2g128', [row]);
      row.forEach((x, i) => {
        const start = i - (i % group);
        const values = row.slice(start, start + group);
        const mean = values.reduce((sum, v) => sum + Math.abs(v), 0) / values.length;
        const step = f16ToF32[f32ToF16(0.4 * mean)];
        const grid = [-1.5, -0.5, 0.5, 1.5].map((code) => code * step);
        const nearest = Math.min(...grid.map((value) => Math.abs(value - x)));
        expect(grid).toContain(found[i]);
        expect(Math.abs(found[i] - x)).toBeCloseTo(nearest, 6);
      });
    }
  });

  it('lays 2 bits out in bytes of four elements, 8 apart', () => {
    const tensor = hostTensor('int2g128', [1, 40]);
    const row = new Float32Array(40).fill(-100);
    for (const i of [1, 9, 25, 39]) row[i] = 100;
    row[17] = 1;
    rowWriter(tensor)(0, row);
    expect(tensor.bytes.length).toBe(16 + 4);
    // Behind the last element codes are 0.
    expect([...tensor.bytes.subarray(0, 16)]).toEqual([
      ...[0, 0b11_10_11_11, 0, 0, 0, 0, 0, 0],
      ...[0, 0, 0, 0, 0, 0, 0, 0b11],
    ]);
  });

  it('decodes 2 bits of nothing to nothing', () => {
    expect(roundTrip('int2g128', [new Array<number>(5).fill(0)])).toEqual([[0, 0, 0, 0, 0]]);
  });

  it('lays int4z out as GGUF has Q4_1: codes of 0 to 15, scale and minimum', () => {
    const tensor = hostTensor('int4z', [1, 32]);
    const row = Float32Array.from({ length: 32 }, (_, i) => 2 + (i % 16) * 0.5);
    rowWriter(tensor)(0, row);
    expect([...tensor.bytes.subarray(0, 16)]).toEqual(Array.from({ length: 16 }, (_, i) => i * 17));
    expect([...new Uint16Array(tensor.bytes.buffer, 16)]).toEqual([
      ...[f32ToF16(0.5), 0],
      ...[f32ToF16(2), 0],
    ]);
  });

  it('keeps rows apart and multiples of 4 bytes', () => {
    expect(rowBytes('int8', 33)).toBe(36 + 4);
    expect(rowBytes('int4', 33)).toBe(32 + 4);
    expect(rowBytes('int4', 256)).toBe(128 + 16);
    expect(rowBytes('int4g64', 256)).toBe(128 + 8);
    expect(rowBytes('int4g128', 256)).toBe(128 + 4);
    expect(rowBytes('int4z', 256)).toBe(128 + 16 + 16);
    expect(rowBytes('int4g64z', 65)).toBe(48 + 4 + 4);
    expect(rowBytes('int4g128z', 300)).toBe(160 + 8 + 8);
    expect(rowBytes('int2g128', 128)).toBe(32 + 4);
    expect(rowBytes('int2g128', 300)).toBe(80 + 8);
  });

  it('encodes every f16 back to its own bits', () => {
    for (let bits = 0; bits < 1 << 16; bits++)
      if (!Number.isNaN(f16ToF32[bits])) expect(f32ToF16(f16ToF32[bits])).toBe(bits);
  });

  it('rounds to the nearest f16, ties to even', () => {
    const above = 1 + 2 ** -10;
    expect(f16ToF32[f32ToF16(1 + 2 ** -11)]).toBe(1);
    expect(f16ToF32[f32ToF16(above + 2 ** -11)]).toBe(1 + 2 ** -9);
    expect(f16ToF32[f32ToF16(65520)]).toBe(Infinity);
    expect(f16ToF32[f32ToF16(-(2 ** -24))]).toBe(-(2 ** -24));
  });
});

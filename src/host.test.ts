import { describe, expect, it } from 'vitest';
import { f16ToF32, f32ToF16 } from './float16.ts';
import { hostTensor, rowReader, rowWriter } from './host.ts';
import { rowBytes } from './tensor.ts';

const roundTrip = (dtype: 'f32' | 'f16' | 'int8' | 'int4', values: number[][]): number[][] => {
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
  ] as const)('%s rows decode to what was encoded, within half a step', (dtype, step) => {
    for (const columns of [1, 31, 32, 33, 224]) {
      const values = [
        ramp(columns),
        ramp(columns).map((x) => -x),
        new Array<number>(columns).fill(0),
      ];
      const found = roundTrip(dtype, values);
      values.forEach((row, r) =>
        row.forEach((x, i) => {
          const group = row.slice(i - (i % 32), i - (i % 32) + 32);
          const peak = Math.max(...group.map(Math.abs));
          expect(Math.abs(found[r][i] - x)).toBeLessThanOrEqual(peak * step * 1.01);
        }),
      );
    }
  });

  it('keeps rows apart and multiples of 4 bytes', () => {
    expect(rowBytes('int8', 33)).toBe(36 + 4);
    expect(rowBytes('int4', 33)).toBe(32 + 4);
    expect(rowBytes('int4', 256)).toBe(128 + 16);
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

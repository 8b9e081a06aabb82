import { expect, test } from 'vitest';
import { f16ToF32, f32ToF16 } from '../float16.ts';
import { Inputs } from '../ops/cases.ts';
import { bestStep, codeOf } from './scale.ts';

const random = new Inputs(11);
const group = (): Float64Array =>
  Float64Array.from({ length: 32 }, () => (2 * random.uniform() - 1) ** 3);

function loss(values: Float64Array, weights: Float64Array | undefined, bits: number): number {
  const step = f16ToF32[bits];
  return values.reduce(
    (sum, v, i) => sum + (weights?.[i] ?? 1) * (v - codeOf(v, step, 'int4') * step) ** 2,
    0,
  );
}

const reaching = (values: Float64Array): number =>
  f32ToF16(values.reduce((far, v) => (Math.abs(v) > Math.abs(far) ? v : far), 0) / -8);

test.each([false, true])(
  'the step of an int4 group loses less than one that reaches its largest; weighted %s',
  (weighted) => {
    let [found, plain] = [0, 0];
    for (let i = 0; i < 200; i++) {
      const values = group();
      const weights = weighted ? group().map(Math.abs) : undefined;
      const best = loss(values, weights, bestStep(values, weights, 'int4'));
      const usual = loss(values, weights, reaching(values));
      expect(best).toBeLessThan(1.01 * usual);
      found += best;
      plain += usual;
    }
    expect(found).toBeLessThan(0.9 * plain);
  },
);

test('zeros have a step of zero, and codes of zero', () => {
  const zeros = new Float64Array(32);
  for (const type of ['int4', 'int8'] as const) {
    expect(Math.abs(f16ToF32[bestStep(zeros, undefined, type)])).toBe(0);
    expect(codeOf(0, 0, type)).toBe(0);
  }
});

test('values too small for f16 have a step that is a number', () => {
  const tiny = new Float64Array(32).fill(1e-9);
  for (const type of ['int4', 'int8'] as const)
    expect(Number.isFinite(f16ToF32[bestStep(tiny, undefined, type)])).toBe(true);
});

test('codes stay within their type', () => {
  expect([codeOf(9, 1, 'int4'), codeOf(-9, 1, 'int4')]).toEqual([7, -8]);
  expect([codeOf(900, 1, 'int8'), codeOf(-900, 1, 'int8')]).toEqual([127, -127]);
});

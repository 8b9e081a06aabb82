import fc from 'fast-check';
import { expect, test } from 'vitest';
import { windowsOf } from './windows.ts';

const shapes = fc
  .record({ window: fc.integer({ min: 2, max: 40 }), length: fc.integer({ min: 2, max: 300 }) })
  .chain(({ window, length }) =>
    fc.record({
      window: fc.constant(window),
      length: fc.constant(length),
      stride: fc.integer({ min: 1, max: window - 1 }),
      scored: fc.oneof(fc.constant(Infinity), fc.integer({ min: 1, max: 400 })),
    }),
  );

test('every id but the first is scored once, in order, with context before it', () => {
  fc.assert(
    fc.property(shapes, ({ length, window, stride, scored }) => {
      const windows = windowsOf(length, { window, stride }, scored);
      const all = windows.flatMap(({ first, end }) =>
        Array.from({ length: end - first }, (_, i) => first + i),
      );
      const count = Math.min(length - 1, scored);
      expect(all).toEqual(Array.from({ length: count }, (_, i) => i + 1));
      for (const { start, first, end } of windows) {
        expect(start % stride).toBe(0);
        expect(first).toBeGreaterThan(start);
        expect(end - start).toBeLessThanOrEqual(window);
      }
    }),
  );
});

test('a text of ten ids in windows of four, every two', () => {
  expect(windowsOf(10, { window: 4, stride: 2 })).toEqual([
    { start: 0, first: 1, end: 4 },
    { start: 2, first: 4, end: 6 },
    { start: 4, first: 6, end: 8 },
    { start: 6, first: 8, end: 10 },
  ]);
  expect(windowsOf(9, { window: 4, stride: 3 }, 4)).toEqual([
    { start: 0, first: 1, end: 4 },
    { start: 3, first: 4, end: 5 },
  ]);
});

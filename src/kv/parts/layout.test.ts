import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { KVPolicy } from '../../kv.ts';
import { layoutOf } from './layout.ts';

const ring = fc.record({
  sinks: fc.integer({ min: 0, max: 5 }),
  recent: fc.integer({ min: 1, max: 90 }),
  steps: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 30 }),
  back: fc.integer({ min: 1, max: 60 }),
});

/** Tokens of a text of `length` that the next one sees beside itself. */
const seen = (length: number, { sinks, recent }: { sinks: number; recent: number }): number[] =>
  Array.from({ length }, (_, p) => p).filter((p) => p < sinks || p > length - recent);

test('a text in a ring can be cut back as far as no token is lost that is seen again', () => {
  let cuts = 0;
  fc.assert(
    fc.property(ring, ({ sinks, recent, steps, back }) => {
      const policy: KVPolicy = {
        ...{ name: 'test', keeps: 'windows', positions: 'compacted' },
        budget: { sinks, heavy: 0, recent },
      };
      const layout = layoutOf(policy, 2 ** 31 - 1, 1);
      const [slots] = layout.slots;
      const held: number[] = [];
      const place = (slot: number): number =>
        slot < slots ? slot : sinks + ((slot - sinks) % (slots - sinks));
      let length = 0;
      let kept = layout.empty;
      const add = (rows: number): void => {
        for (let i = 0; i < rows; i++)
          held[place(layout.row(0, length, kept, i).slot)] = length + i;
        kept = layout.after(length, kept, rows);
        length += rows;
      };
      for (const rows of steps) add(Math.min(rows, layout.room(length, kept)));
      const wanted = Math.max(0, length - back);
      const left = layout.cut(length, wanted);
      expect([0, wanted]).toContain(left);
      if (left === 0) {
        // Not for nothing: something is missing.
        if (wanted > 0) expect(length).toBeGreaterThan(slots);
        return;
      }
      if (length > slots) cuts++;
      expect(held).toEqual(expect.arrayContaining(seen(left, { sinks, recent })));
    }),
    { numRuns: 500 },
  );
  expect(cuts).toBeGreaterThan(0);
});

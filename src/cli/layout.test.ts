import { expect, test } from 'vitest';
import { bytes, sideBySide, table, wrap } from './layout.ts';

test('bytes in decimal units', () => {
  expect([0, 999, 1000, 11_561_472, 5.2e9].map(bytes)).toEqual([
    '0 B',
    '999 B',
    '1.00 kB',
    '11.56 MB',
    '5.20 GB',
  ]);
});

test('tables align names left and numbers right', () => {
  expect(
    table([
      ['', 'dense'],
      ['tokens/s', '7'],
    ]),
  ).toBe('          dense\ntokens/s      7\n');
});

test('texts wrap at spaces, keep their paragraphs and stand next to each other', () => {
  expect(wrap('one two three\n\nfour', 8)).toEqual(['one two', 'three', '', 'four']);
  expect(sideBySide(['a', 'left'], ['b', 'right one'], 43).split('\n')).toEqual([
    'a                    │ b',
    '──────────────────── │ ────────────────────',
    'left                 │ right one',
    '',
  ]);
});

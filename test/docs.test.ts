import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { documents, withTables } from '../scripts/docs.ts';

test.each(documents)('tables of %s are those of the code (else: node scripts/docs.mjs)', (path) => {
  const text = readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
  expect(text).toMatch(/<!-- [a-z ]+ -->/);
  expect(withTables(path, text)).toBe(text);
});

test('a table that nobody makes is an error', () => {
  expect(() => withTables('x.md', '<!-- colours -->\n<!-- end -->')).toThrow(/x\.md/);
  expect(() => withTables('x.md', '<!-- methods -->')).toThrow(/no <!-- end -->/);
});

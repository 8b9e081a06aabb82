import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { codeOf } from '../../test/support/code-of.ts';
import { textsOf } from '../../test/support/svg-texts.ts';
import { amount, picture, savePicture, text } from './svg.ts';

const svg = picture({ width: 200, height: 100 }, 'A & B', [text(5, 5, 'a < "b"', 'title')]);

test('a picture is well-formed whatever its texts, and has colours for the dark', () => {
  expect(textsOf(svg)).toContain('a < "b"');
  expect(svg).toContain('aria-label="A &#38; B"');
  expect(svg).toContain('prefers-color-scheme:dark');
  expect(amount(4.3e6)).toBe('4.30 MB');
});

test('a file is written as a whole; where it cannot be, nothing is left', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'dejavu-plot-'));
  try {
    await savePicture(join(folder, 'new', 'speed.svg'), svg);
    expect(await readdir(join(folder, 'new'))).toEqual(['speed.svg']);
    expect(await readFile(join(folder, 'new', 'speed.svg'), 'utf8')).toBe(svg);
    expect(await codeOf(savePicture(join(folder, 'new'), svg))).toBe('FILE_NOT_FOUND');
    expect(await readdir(folder)).toEqual(['new']);
  } finally {
    await rm(folder, { recursive: true });
  }
});

/** Each program of examples/ runs, and prints what it says it prints. */
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, test, vi } from 'vitest';

const folder = new URL('../examples/', import.meta.url);
const programs = readdirSync(folder).filter((file) => file.endsWith('.mjs'));

afterEach(() => void vi.restoreAllMocks());

/** What a program prints. */
async function printed(file: string): Promise<string> {
  const lines: string[] = [];
  vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(`${line}\n`));
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => lines.push(String(text)) > 0);
  await import(/* @vite-ignore */ new URL(file, folder).pathname);
  return lines.join('');
}

const expected: Readonly<Record<string, RegExp>> = {
  'batch.mjs':
    /^It was a dark night, and ….+\nas alone: true\nThe little girl laughed and ….+\nas alone: true\n$/s,
  'chat.mjs':
    /^> "Who is there\?".+\(0 tokens were in the cache\)\n> "Come in,".+\([1-9]\d* tokens were in the cache\)\n4 messages\n$/s,
  'method.mjs':
    /^late-oracle: neurons computed, by layer\n0: 100 %\n1: 100 %\n2: 100 %\n3: 25 %\n4: 25 %\n5: 25 %\n$/,
  'stream.mjs': /^.+\nlength; neurons computed: \d+ %\nweights read: \d+ % of dense\n$/s,
  'train.mjs': /^predictors of 6 layers\npredictor: fewer neurons, true\n$/,
};

describe('an example', () => {
  test.each(programs)('%s prints what it should', async (file) => {
    expect(await printed(file)).toMatch(expected[file]);
  });

  test('is short, and imports the package by its name', () => {
    expect(programs.sort()).toEqual(Object.keys(expected));
    for (const file of programs) {
      const text = readFileSync(new URL(file, folder), 'utf8');
      expect(text.split('\n').length, file).toBeLessThanOrEqual(41);
      expect(text, file).toContain("from 'dejavu-llm'");
    }
  });
});

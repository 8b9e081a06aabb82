/** Sizes that the house keeps: past them a file has a second subject, a function a second phase. */
import { readdirSync, readFileSync } from 'node:fs';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { nodesOf } from './support/library.ts';

const root = new URL('../', import.meta.url);
const mostLines = { file: 400, function: 100 };

const files = ['src', 'test', 'native', 'scripts', 'bench', 'examples']
  .flatMap((folder) =>
    readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' }).map(
      (path) => `${folder}/${path}`,
    ),
  )
  .filter((path) => /\.(ts|mjs|cjs|cc|h|py)$/.test(path) && !path.includes('/data/'))
  .map((path) => ({ path, text: readFileSync(new URL(path, root), 'utf8') }));

const linesOf = (text: string): number => text.trimEnd().split('\n').length;

/** Functions of a TypeScript file, by name and number of lines. */
function* functionsOf(path: string, text: string): Generator<readonly [string, number]> {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true);
  for (const node of nodesOf(file)) {
    if (!ts.isFunctionLike(node) || !('body' in node) || !node.body) continue;
    // What holds tests, as a describe does, may be long; each of them may not.
    if (/^ *(test|it)[.(]/m.test(node.getText())) continue;
    const name = node.name?.getText() ?? 'a function';
    yield [`${path} ${name}`, linesOf(node.getText())];
  }
}

test(`no file has more than ${mostLines.file} lines`, () => {
  expect(files.length).toBeGreaterThan(250);
  const long = files.map(({ path, text }) => [path, linesOf(text)] as const);
  expect(long.filter(([, lines]) => lines > mostLines.file)).toEqual([]);
});

test(`no function has more than ${mostLines.function} lines`, () => {
  const all = files
    .filter(({ path }) => path.endsWith('.ts'))
    .flatMap(({ path, text }) => [...functionsOf(path, text)]);
  expect(all.length).toBeGreaterThan(2000);
  const long = all.filter(([, lines]) => lines > mostLines.function);
  expect(long).toEqual([]);
});

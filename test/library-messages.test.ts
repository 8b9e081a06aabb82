/**
 * What the library says to people names options and functions as the library has them, in backticks; the command
 * line makes flags and commands of them.
 */
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { inFlags } from '../src/cli/library-names.ts';
import { nodesOf, sources } from './support/library.ts';

/** Texts of the library's code, parts of templates too, by where they stand. */
const texts = [...sources()]
  .filter(([path]) => !path.startsWith('cli/'))
  .flatMap(([path, file]) =>
    [...nodesOf(file)]
      .filter((node) => ts.isStringLiteralLike(node) || ts.isTemplateLiteralToken(node))
      .filter((node) => !ts.isImportDeclaration(node.parent))
      .map((node) => ({
        at: `src/${path}:${file.getLineAndCharacterOfPosition(node.getStart()).line + 1}`,
        text: node.text,
      })),
  );

/** Names that a caller of the library can write: fields of types, parameters, functions, types. */
const known = new Set(
  [...sources().values()].flatMap((file) =>
    [...nodesOf(file)]
      .filter(
        (node) =>
          ts.isPropertySignature(node) ||
          ts.isParameter(node) ||
          ts.isFunctionDeclaration(node) ||
          ts.isMethodDeclaration(node) ||
          ts.isTypeAliasDeclaration(node),
      )
      .flatMap(({ name }) => (name && ts.isIdentifier(name) ? [name.text] : [])),
  ),
);

test('the scan sees messages', () => {
  expect(texts.length).toBeGreaterThan(1000);
  expect(texts.some(({ text }) => text.includes('`context`'))).toBe(true);
  expect([...known]).toEqual(expect.arrayContaining(['kvBudget', 'generate', 'Prompt', 'tasks']));
});

describe('a message of the library', () => {
  test('names no flag', () => {
    /** npm's own flags. */
    const others = /--no-save|--ignore-scripts/g;
    const said = texts.filter(({ text }) => /--[a-z]/.test(text.replaceAll(others, '')));
    expect(said).toEqual([]);
  });

  test('names no command', () => {
    expect(texts.filter(({ text }) => /\bdejavu [a-z]/.test(text))).toEqual([]);
  });

  test('names only what there is', () => {
    const unknown = texts.filter(({ text }) =>
      [...text.matchAll(/`(\w+)( [^`]*)?`/g)].some(([, name]) => !known.has(name)),
    );
    expect(unknown).toEqual([]);
  });
});

describe('on the command line', () => {
  test.each([
    ['`maxTokens` is 0', '--max-tokens is 0'],
    ['lower `context` or `kvBudget`', 'lower --context or --kv-budget'],
    ['use `weights` f32', 'use --weights f32'],
    ['correct `endpoint` or HF_ENDPOINT', 'correct --mirror or HF_ENDPOINT'],
    ['token ids (`Prompt`)', 'token ids (--ids)'],
    ['make one with `train`', 'make one with "dejavu train MODEL --text FILE"'],
    ['fetch it with `pull org/name`', 'fetch it with "dejavu pull org/name"'],
    [
      '`memoryLimit` and `constructor` have no flag',
      '`memoryLimit` and `constructor` have no flag',
    ],
  ])('%s: %s', (said, printed) => {
    expect(inFlags(said)).toBe(printed);
  });
});

/** What the package exports says what it is: a docstring each, units, error codes and an example. */
import ts from 'typescript';
import { expect, test } from 'vitest';
import { program } from './support/library.ts';

const { checker, exported } = program(['src/index.ts', 'src/core.ts']);
const documented = (symbol: ts.Symbol): boolean =>
  symbol.getDocumentationComment(checker).length > 0;

/** Fields and methods of an exported type, by name; those of the language's own types are its business. */
function* members(symbol: ts.Symbol): Generator<[string, ts.Symbol]> {
  const type = checker.getDeclaredTypeOfSymbol(symbol);
  for (const member of checker.getPropertiesOfType(type)) {
    const [declaration] = member.declarations ?? [];
    if (!declaration?.getSourceFile().fileName.includes('/src/')) continue;
    if (!/^(__|#)/.test(member.name)) yield [member.name, member];
  }
}

test('the scan sees what is exported', () => {
  expect([...exported.keys()]).toEqual(expect.arrayContaining(['Engine', 'GenerateResult']));
});

test('every exported name says what it is', () => {
  expect([...exported].filter(([, symbol]) => !documented(symbol)).map(([name]) => name)).toEqual(
    [],
  );
});

test('so does every field of an exported type', () => {
  const silent = [...exported].flatMap(([name, symbol]) =>
    symbol.flags & (ts.SymbolFlags.Interface | ts.SymbolFlags.Class | ts.SymbolFlags.TypeAlias)
      ? [...members(symbol)].filter(([, m]) => !documented(m)).map(([field]) => `${name}.${field}`)
      : [],
  );
  expect(silent).toEqual([]);
});

test('an exported function says what it throws, and has an example', () => {
  const lacking = [...exported].flatMap(([name, symbol]) => {
    const [declaration] = symbol.declarations ?? [];
    if (!checker.getTypeOfSymbolAtLocation(symbol, declaration).getCallSignatures().length)
      return [];
    const said = ts.displayPartsToString(symbol.getDocumentationComment(checker));
    return [
      ...(/\bthrows?\b/i.test(said) ? [] : [`${name}: what it throws`]),
      ...(/^ {4}\S/m.test(said) ? [] : [`${name}: an example`]),
    ];
  });
  expect(lacking).toEqual([]);
});

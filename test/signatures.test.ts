/** Whatever type an exported signature names can be imported from where the signature was. */
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { program } from './support/library.ts';

/**
 * Types that a declaration names to those outside: not those of bodies and private or internal members, nor of the constructor of a
 * class that is exported as a type.
 */
function* named(node: ts.Node, typeOnly: boolean): Generator<ts.Identifier> {
  if (ts.isBlock(node) || isHidden(node) || (typeOnly && ts.isConstructorDeclaration(node))) return;
  if (ts.isTypeReferenceNode(node))
    yield ts.isIdentifier(node.typeName) ? node.typeName : node.typeName.right;
  if (ts.isExpressionWithTypeArguments(node) && ts.isIdentifier(node.expression))
    yield node.expression;
  for (const child of node.getChildren()) yield* named(child, typeOnly);
}

function isHidden(node: ts.Node): boolean {
  if (!ts.isClassElement(node)) return false;
  if (ts.getJSDocTags(node).some(({ tagName }) => tagName.text === 'internal')) return true;
  const modifiers = ts.canHaveModifiers(node) ? (ts.getModifiers(node) ?? []) : [];
  return (
    (node.name !== undefined && ts.isPrivateIdentifier(node.name)) ||
    modifiers.some(({ kind }) =>
      [ts.SyntaxKind.PrivateKeyword, ts.SyntaxKind.ProtectedKeyword].includes(kind),
    )
  );
}

/** Whether its own file lets others have it: what it keeps to itself is a part of a type, not a name. */
const isShared = (type: ts.Symbol): boolean =>
  type.declarations?.some(
    (at) =>
      at.getSourceFile().fileName.includes('/src/') &&
      ts.canHaveModifiers(at) &&
      ts.getModifiers(at)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword),
  ) ?? false;

/** `Exported names Type`, of each type of src that the entry does not export by that name. */
function missing(entry: string): string[] {
  const { checker, exported, typesOnly } = program([entry]);
  const lacking = new Set<string>();
  for (const [name, symbol] of exported)
    for (const declaration of symbol.declarations ?? [])
      for (const identifier of named(declaration, typesOnly.has(name))) {
        const found = checker.getSymbolAtLocation(identifier)!;
        const type = found.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(found) : found;
        if (isShared(type) && !exported.has(type.name)) lacking.add(`${name} names ${type.name}`);
      }
  return [...lacking];
}

describe.each(['src/index.ts', 'src/core.ts', 'src/tokenizer/index.ts'])('%s', (entry) => {
  test('exports the types that its signatures name', () => {
    expect(missing(entry)).toEqual([]);
  });
});

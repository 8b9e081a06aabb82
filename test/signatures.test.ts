/** What an entry's signatures name can be imported from it: no type is met that a user cannot write down. */
import ts from 'typescript';
import { expect, test } from 'vitest';
import { aliased, declarations } from './support/declarations.ts';

const entries = ['index.ts', 'core.ts', 'tokenizer/index.ts'];
const { checker, exportsOf } = declarations(entries);

/** A class exported by its type alone is made by nobody but the library: its constructor is not for users. */
const isOwn = (member: ts.Node, typeOnly: boolean): boolean =>
  (typeOnly && ts.isConstructorDeclaration(member)) ||
  (ts.canHaveModifiers(member) &&
    (ts.getModifiers(member) ?? []).some(
      ({ kind }) =>
        kind === ts.SyntaxKind.PrivateKeyword || kind === ts.SyntaxKind.ProtectedKeyword,
    ));

/** Names that stand in a declaration where a type is named. */
function* namesIn(node: ts.Node, typeOnly: boolean): Generator<ts.EntityName | ts.Expression> {
  if (isOwn(node, typeOnly)) return;
  if (ts.isTypeReferenceNode(node)) yield node.typeName;
  if (ts.isTypeQueryNode(node)) yield node.exprName;
  if (ts.isExpressionWithTypeArguments(node)) yield node.expression;
  if (ts.isImportTypeNode(node) && node.qualifier) yield node.qualifier;
  for (const child of node.getChildren()) yield* namesIn(child, typeOnly);
}

/** What the file of a declaration exports. */
const exportsOfFile = (declaration: ts.Node): ReadonlySet<ts.Symbol> =>
  new Set(checker.getExportsOfModule(checker.getSymbolAtLocation(declaration.getSourceFile())!));

const isOurs = (symbol: ts.Symbol): boolean =>
  !(symbol.flags & ts.SymbolFlags.TypeParameter) &&
  (symbol.declarations ?? []).some((d) => d.getSourceFile().fileName.includes('/.declarations/'));

/**
 * What stands for something else alone: a value behind `typeof`, an alias for a keyword or one that its own file keeps
 * to itself, what is behind an index or `keyof`. What it comes to is looked at in its place.
 */
const comesTo = (symbol: ts.Symbol, name: ts.Node): boolean => {
  const [declaration] = symbol.declarations ?? [];
  if (!(symbol.flags & ts.SymbolFlags.Type)) return true;
  if (ts.isIndexedAccessTypeNode(name.parent.parent)) return true;
  if (ts.isTypeOperatorNode(name.parent.parent)) return true;
  if (!ts.isTypeAliasDeclaration(declaration)) return false;
  return ts.isToken(declaration.type) || !exportsOfFile(declaration).has(symbol);
};

/** Project types that an entry's signatures name and nobody can import from it or from `also`; where each was met. */
function missing(entry: string, also: readonly string[] = []): Map<string, string> {
  const nameable = new Set([entry, ...also].flatMap((one) => [...exportsOf(one).keys()]));
  const found = new Map<string, string>();
  const seen = new Set<ts.Symbol>();
  const look = (symbol: ts.Symbol, where: string, typeOnly: boolean): void => {
    if (seen.has(symbol)) return;
    seen.add(symbol);
    for (const declaration of symbol.declarations ?? [])
      for (const name of namesIn(declaration, typeOnly)) {
        const named = aliased(checker, checker.getSymbolAtLocation(name)!);
        if (!isOurs(named) || nameable.has(named)) continue;
        if (comesTo(named, name)) look(named, where, true);
        else found.set(named.name, where);
      }
  };
  for (const [symbol, { typeOnly }] of exportsOf(entry)) look(symbol, symbol.name, typeOnly);
  return found;
}

test.each<[string, string[]]>([
  ['core.ts', []],
  ['tokenizer/index.ts', []],
  // The core's Engine, which that of Node extends, is imported from the core.
  ['index.ts', ['core.ts']],
])('%s exports every type that its signatures name', (entry, also) => {
  expect([...missing(entry, also)].map(([name, where]) => `${name}, named by ${where}`)).toEqual(
    [],
  );
});

import { readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { posix } from 'node:path';
import ts from 'typescript';

/** What a file names that Node alone has, and the imports that led to it, first file first. */
export interface Found {
  readonly what: string;
  readonly trail: readonly string[];
}

/** Globals of Node that no browser has. */
const nodeGlobals = new Set([
  ...['process', 'Buffer', 'global', 'require', 'module', 'exports'],
  ...['__dirname', '__filename', 'setImmediate', 'clearImmediate', 'gc'],
]);

/**
 * Walk all that is imported from a file of src on, by `import()` too, and collect what needs Node. Imports of
 * types alone are erased and lead nowhere; packages are not entered.
 */
export function walkImports(
  entry: string,
  read: (path: string) => string = readSource,
): { readonly found: readonly Found[]; readonly files: readonly string[] } {
  const found: Found[] = [];
  const trails = new Map([[entry, [entry]]]);
  for (const [path, trail] of trails) {
    const { targets, globals } = scan(path, read(path));
    for (const what of globals) found.push({ what, trail });
    for (const target of targets) {
      if (isBuiltin(target)) found.push({ what: target, trail });
      if (!target.startsWith('.')) continue;
      const next = posix.join(posix.dirname(path), target);
      if (!trails.has(next)) trails.set(next, [...trail, next]);
    }
  }
  return { found, files: [...trails.keys()] };
}

const readSource = (path: string): string =>
  readFileSync(new URL(`../../src/${path}`, import.meta.url), 'utf8');

/** What a file imports when it runs, and the globals of Node that it uses. */
function scan(path: string, text: string): { targets: string[]; globals: Set<string> } {
  const targets: string[] = [];
  const globals = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node)) return;
    const target = imported(node);
    if (target !== undefined) targets.push(target);
    if (ts.isMetaProperty(node) && node.keywordToken === ts.SyntaxKind.ImportKeyword)
      globals.add('import.meta');
    if (ts.isIdentifier(node) && nodeGlobals.has(node.text) && isUse(node) && !isOwn(node))
      globals.add(node.text);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true));
  return { targets, globals };
}

/** The module that a statement or an `import()` loads. */
function imported(node: ts.Node): string | undefined {
  if (ts.isImportDeclaration(node) && !node.importClause?.isTypeOnly)
    return textOf(node.moduleSpecifier);
  if (ts.isExportDeclaration(node) && node.moduleSpecifier && !node.isTypeOnly)
    return textOf(node.moduleSpecifier);
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
    return textOf(node.arguments[0]);
  return undefined;
}

function textOf(specifier: ts.Expression): string {
  if (ts.isStringLiteral(specifier)) return specifier.text;
  throw new Error(`${specifier.getText()}: expected imports by a literal, which can be followed`);
}

/** Whether an identifier stands for a value: it names no property, and nothing that is declared. */
function isUse({ parent, text }: ts.Identifier): boolean {
  const named = parent as Partial<ts.NamedDeclaration>;
  if (named.name && ts.isIdentifier(named.name) && named.name.text === text)
    return ts.isShorthandPropertyAssignment(parent);
  return !ts.isBindingElement(parent) || parent.propertyName?.getText() !== text;
}

/** Whether something around an identifier declares that name: a parameter, a variable, an import, a function. */
function isOwn({ text, parent }: ts.Identifier): boolean {
  for (let around: ts.Node = parent; ; around = around.parent) {
    let own = false;
    const look = (node: ts.Node): void => {
      const { name } = node as Partial<ts.NamedDeclaration>;
      if (name && ts.isIdentifier(name) && name.text === text && declares(node)) own = true;
      // What a function inside declares is not seen out here.
      if (node === around || !ts.isFunctionLike(node)) ts.forEachChild(node, look);
    };
    if (ts.isFunctionLike(around) || ts.isSourceFile(around)) look(around);
    if (own || ts.isSourceFile(around)) return own;
  }
}

const declares = (node: ts.Node): boolean =>
  [
    ts.isVariableDeclaration,
    ts.isParameter,
    ts.isBindingElement,
    ts.isFunctionDeclaration,
    ts.isClassDeclaration,
    ts.isImportSpecifier,
  ].some((is) => is(node));

import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Files of src by their path there, as the compiler reads them. */
export const sources = (): ReadonlyMap<string, ts.SourceFile> =>
  new Map(
    ts.sys
      .readDirectory(`${root}src`, ['.ts'])
      .filter((path) => !/\.(test|d)\.ts$/.test(path))
      .map((path) => [
        path.slice(`${root}src/`.length),
        ts.createSourceFile(path, ts.sys.readFile(path)!, ts.ScriptTarget.ES2023, true),
      ]),
  );

/** Every node below one, itself too. */
export function* nodesOf(node: ts.Node): Generator<ts.Node> {
  yield node;
  for (const child of node.getChildren()) yield* nodesOf(child);
}

/** The compiler's view of files, and what they export, by name. */
export function program(files: readonly string[]): {
  readonly checker: ts.TypeChecker;
  readonly exported: ReadonlyMap<string, ts.Symbol>;
} {
  const config = ts.readConfigFile(`${root}tsconfig.json`, (path) => ts.sys.readFile(path));
  const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
  const whole = ts.createProgram(
    files.map((file) => root + file),
    options,
  );
  const checker = whole.getTypeChecker();
  const exported = new Map<string, ts.Symbol>();
  for (const file of files)
    for (const symbol of checker.getExportsOfModule(
      checker.getSymbolAtLocation(whole.getSourceFile(root + file)!)!,
    )) {
      const name = exported.has(symbol.name) ? `${file}: ${symbol.name}` : symbol.name;
      exported.set(
        name,
        symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol,
      );
    }
  return { checker, exported };
}

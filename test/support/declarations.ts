import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** Where declarations would lie; nothing is written there. */
const outDir = `${root}.declarations`;

/** What the package's declarations say, as its users' compilers read them: inferred types are written out. */
export function declarations(entries: readonly string[]): {
  readonly checker: ts.TypeChecker;
  /** Symbols that an entry exports, and whether as types alone. */
  readonly exportsOf: (entry: string) => ReadonlyMap<ts.Symbol, { readonly typeOnly: boolean }>;
} {
  const config = ts.readConfigFile(`${root}tsconfig.build.json`, (path) => ts.sys.readFile(path));
  const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
  const emitted = new Map<string, string>();
  ts.createProgram(
    entries.map((entry) => `${root}src/${entry}`),
    { ...options, emitDeclarationOnly: true, outDir },
  ).emit(undefined, (path, text) => emitted.set(path, text));

  const host = ts.createCompilerHost(options);
  const onDisk = host.getSourceFile.bind(host);
  const program = ts.createProgram(
    entries.map((entry) => `${outDir}/${entry.replace(/\.ts$/, '.d.ts')}`),
    options,
    {
      ...host,
      fileExists: (path) => emitted.has(path) || host.fileExists(path),
      readFile: (path) => emitted.get(path) ?? host.readFile(path),
      directoryExists: (path) => path.startsWith(outDir) || host.directoryExists!(path),
      getSourceFile: (path, version) =>
        emitted.has(path)
          ? ts.createSourceFile(path, emitted.get(path)!, version, true)
          : onDisk(path, version),
    },
  );
  const checker = program.getTypeChecker();
  return {
    checker,
    exportsOf: (entry) => {
      const file = program.getSourceFile(`${outDir}/${entry.replace(/\.ts$/, '.d.ts')}`)!;
      return new Map(
        checker
          .getExportsOfModule(checker.getSymbolAtLocation(file)!)
          .map((symbol) => [
            aliased(checker, symbol),
            { typeOnly: symbol.declarations?.some(ts.isTypeOnlyExportDeclaration) ?? false },
          ]),
      );
    },
  };
}

/** What a name stands for, through imports and exports. */
export const aliased = (checker: ts.TypeChecker, symbol: ts.Symbol): ts.Symbol =>
  symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;

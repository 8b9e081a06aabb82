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

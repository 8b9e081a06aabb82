import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Models that travel with the package. */
const names = ['books-6m'];

/** The folder of a bundled model; undefined for any other name, and where a folder has that name. */
export function bundledModel(name: string): string | undefined {
  if (!names.includes(name) || existsSync(`${name}/config.json`)) return undefined;
  return fileURLToPath(new URL(`../../models/${name}`, import.meta.url));
}

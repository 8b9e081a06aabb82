#!/usr/bin/env node
// Write the tables of documents that follow from the code; with --check, say which are behind, and exit with 1.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';

process.chdir(new URL('..', import.meta.url).pathname);
mkdirSync('node_modules/.cache', { recursive: true });
const outfile = 'node_modules/.cache/dejavu-docs.mjs';
await build({
  entryPoints: ['scripts/docs.ts'],
  ...{
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
  },
});
const { documents, withTables } = await import(pathToFileURL(outfile).href);

const check = process.argv.includes('--check');
let behind = 0;
for (const path of documents) {
  const text = readFileSync(path, 'utf8');
  const made = withTables(path, text);
  if (made === text) continue;
  behind++;
  if (check) console.error(`${path}: its tables are behind the code; run: node scripts/docs.mjs`);
  else writeFileSync(path, made);
}
process.exitCode = check && behind > 0 ? 1 : 0;

/**
 * Tables that documents share with the code: each stands between `<!-- NAME -->` and `<!-- end -->`, and is made of
 * what the code's own tables declare. `node scripts/docs.mjs` writes them, `--check` and a test compare.
 */
import { backends } from '../src/backends/index.ts';
import { commands } from '../src/cli/commands/index.ts';
import { commonFlags, type Flags, hubFlags } from '../src/cli/flags.ts';
import { inFlags } from '../src/cli/library-names.ts';
import { errorCodes } from '../src/errors.ts';
import { tasks } from '../src/eval/tasks/index.ts';
import { policies } from '../src/kv/index.ts';
import { forms } from '../src/loaders/packed/index.ts';
import { families } from '../src/models/index.ts';
import { methods } from '../src/sparsity/index.ts';

type Row = readonly string[];

/** A table of Markdown; cells speak of flags, as documents are read beside the command line. */
const table = (heads: Row, rows: readonly Row[]): string =>
  [heads, heads.map(() => '---'), ...rows]
    .map((row) => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n');

const code = (text: string): string => `\`${text}\``;

/** `--flag`s of a sentence as code, papers as links. */
const said = (summary: string): string =>
  inFlags(summary)
    .replace(/--[a-z-]+/g, code)
    .replace(/arXiv (\d{4}\.\d{5})/g, '[arXiv $1](https://arxiv.org/abs/$1)');

const needs: Readonly<Record<(typeof methods)[number]['needs'], string>> = {
  nothing: '',
  counts: "a predictor's densities, or `--neurons`, `--heads`",
  predictor: '`predictor.safetensors`',
  usage: '`predictor.safetensors`',
};

const named = (entries: readonly { name: string; summary: string }[]): Row[] =>
  entries.map(({ name, summary }) => [code(name), said(summary)]);

const names = (entries: readonly { name: string }[]): string =>
  entries.map(({ name }) => code(name)).join(', ');

const flagRows = (flags: Flags): Row[] =>
  Object.values(flags).map(({ usage, help }) => [code(usage), help]);

/** Flags of every command; those that several share are told once, with the first. */
function flagTables(): string {
  const heads = ['flag', 'what it says'];
  const parts = commands.map(({ name, summary, flags }) =>
    [`## ${name}`, `${summary}.`, table(heads, flagRows(flags))].join('\n\n'),
  );
  return [
    table(heads, flagRows(commonFlags)),
    ...['Of every command that takes a model:', table(heads, flagRows(hubFlags)), ...parts],
  ].join('\n\n');
}

/** What may stand between markers, by name: a table, or a list within a line. */
const generated: Readonly<Record<string, () => string>> = {
  methods: () =>
    table(
      ['method', 'heads and neurons computed for a token', 'needs'],
      methods.map((m) => [code(m.name), said(m.summary), needs[m.needs]]),
    ),
  policies: () => table(['policy', 'tokens of a text that stay in the cache'], named(policies)),
  families: () =>
    table(
      ['`model_type`', 'models, and what sets them apart'],
      families.map((f) => [f.modelTypes.map(code).join(', '), said(f.summary)]),
    ),
  forms: () => table(['`quant_method`', 'what is read of it'], named(forms)),
  tasks: () => table(['task', 'what is measured'], named(tasks)),
  backends: () => table(['backend', 'what it runs on'], named(backends)),
  errors: () =>
    table(
      ['code', 'status', 'meaning'],
      Object.entries(errorCodes).map(([name, { status, meaning }]) => [
        code(name),
        String(status),
        meaning,
      ]),
    ),
  flags: flagTables,
  'list of methods': () => names(methods),
  'list of policies': () => names(policies),
  'list of families': () => names(families),
  'list of tasks': () => names(tasks),
  'list of backends': () => names(backends),
};

/** Documents with such parts. */
export const documents = ['README.md', 'ARCHITECTURE.md', 'docs/flags.md'];

/** A document with its parts as they should be. Throws where a marker names none, or has no end. */
export function withTables(path: string, text: string): string {
  return text.replace(
    /<!-- ([a-z ]+) -->(?:[\s\S]*?<!-- end -->)?/g,
    (found: string, name: string) => {
      const make = generated[name];
      if (!make || !found.endsWith('<!-- end -->'))
        throw new Error(`${path}: <!-- ${name} --> names no table, or has no <!-- end -->`);
      const gap = name.startsWith('list of ') ? '' : '\n\n';
      return `<!-- ${name} -->${gap}${make()}${gap}<!-- end -->`;
    },
  );
}

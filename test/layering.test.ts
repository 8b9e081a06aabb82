import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { describe, expect, test } from 'vitest';

const source = new URL('../src/', import.meta.url);

/** Every file of src but tests, by its path. */
const files = new Map(
  readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((path) => /(?<!\.test)(?<!\.d)\.ts$/.test(path))
    .map((path) => [path, readFileSync(new URL(path, source), 'utf8')]),
);

/** What each layer may import besides itself, and the sentence that says so. */
interface Layer {
  readonly may: readonly string[];
  readonly rule: string;
}

const ground = ['errors', 'nearest', 'tensor', 'float16', 'schema'];
/** In a line: each imports only those before it. */
const contracts = [
  ...[
    'op',
    'program',
    'backend',
    'selector',
    'kv',
    'cache',
    'model',
    'predictor',
    'sparsity',
    'source',
  ],
];
const below = [...ground, ...contracts.map((name) => `${name}.ts`), 'random', 'rows'];

const contract: Layer = {
  may: [...ground, ...contracts.map((name) => `${name}.ts`)],
  rule: 'A contract imports only contracts, tensor and errors; never an implementation.',
};

const layers: Readonly<Record<string, Layer>> = {
  ...Object.fromEntries(contracts.map((name) => [`${name}.ts`, contract])),
  // The names of activations are a type that families, operations and configurations share.
  'model.ts': { ...contract, may: [...contract.may, 'ops'] },
  schema: { may: [], rule: 'schema imports nothing.' },
  errors: { may: [], rule: 'errors imports nothing.' },
  nearest: { may: [], rule: 'nearest imports nothing.' },
  texts: { may: ['errors'], rule: 'texts reads files of text: it imports nothing but errors.' },
  float16: { may: [], rule: 'float16 imports nothing.' },
  tensor: { may: ['errors'], rule: 'tensor imports nothing but errors.' },
  rows: {
    may: ['op.ts', 'float16', 'tensor'],
    rule: 'rows are arrays in memory: they know tensors and nothing that computes.',
  },
  random: { may: [], rule: 'random imports nothing.' },
  ops: {
    may: below,
    rule: 'An operation knows tensors and programs: no backend, model, policy or method.',
  },
  backends: {
    may: [...below, 'ops'],
    rule: 'A backend runs recorded programs; it knows nothing of models, methods or policies.',
  },
  models: {
    may: [...below, 'ops'],
    rule: 'models know no backend, policy or method: that keeps M + N.',
  },
  kv: { may: [...below, 'ops'], rule: 'kv knows no model and no method: that keeps M + N.' },
  sparsity: { may: [...below, 'ops'], rule: 'sparsity knows no model: that keeps M + N.' },
  loaders: {
    may: [...below, 'models'],
    rule: 'loaders turn files into weights; of other layers they know the table of families alone.',
  },
  hub: {
    may: [...below, 'loaders'],
    rule: 'hub turns an id into files of this machine; of other layers it knows how files are read.',
  },
  tokenizer: {
    may: [...below, 'loaders'],
    rule: 'tokenizer turns text into ids; of other layers it knows how files are read.',
  },
  engine: {
    may: [...below, 'backends', 'hub', 'kv', 'loaders', 'models', 'ops', 'sparsity', 'tokenizer'],
    rule: 'Imports point down: engine knows nothing of training, evaluation, benches or commands.',
  },
  train: {
    may: [...below, 'engine', 'kv', 'loaders', 'ops', 'sparsity'],
    rule: 'Imports point down: train knows the engine, and no evaluation, bench or command.',
  },
  eval: {
    may: [...below, 'engine', 'kv', 'loaders', 'sparsity', 'texts', 'tokenizer'],
    rule: 'Imports point down: eval knows the engine, and no training, bench or command.',
  },
  quantize: {
    may: [...below, 'engine', 'eval', 'kv', 'loaders', 'ops', 'sparsity', 'tokenizer'],
    rule: 'Imports point down: quantize measures with eval, and knows no training, bench or command.',
  },
  bench: {
    may: [...below, 'backends', 'engine', 'kv', 'loaders', 'ops', 'sparsity', 'train'],
    rule: 'Imports point down: bench knows no evaluation and no command.',
  },
  plot: {
    may: ['errors', 'bench', 'eval', 'kv', 'loaders'],
    rule: 'plot draws results that others measured: what measures knows no picture.',
  },
  cli: {
    may: [
      ...below,
      ...['backends', 'bench', 'engine', 'eval', 'hub', 'kv', 'plot', 'quantize', 'sparsity'],
      ...['texts', 'train'],
    ],
    rule: 'A command turns argv into an engine call and a result into text: it reads no weight, records no op.',
  },
  core: {
    may: [
      ...[...below, 'backends', 'engine', 'eval', 'kv', 'loaders', 'models', 'ops', 'sparsity'],
      'tokenizer',
    ],
    rule: 'core is the public surface where there is no Node; test/core.test.ts walks what it reaches.',
  },
  index: {
    may: ['backends', 'bench', 'core', 'engine', 'eval', 'hub', 'quantize', 'train'],
    rule: 'index is the public surface under Node; commands are not part of it.',
  },
};

/** `kv/full.ts` lies in `kv`; `kv.ts` is a contract of its own; other files of src are layers too. */
function layerOf(path: string): string {
  const [folder, ...rest] = path.split('/');
  if (rest.length) return folder;
  const name = folder.replace(/\.ts$/, '');
  return contracts.includes(name) ? folder : name;
}

const statements =
  /^(?:import|export|\}).*? from '([^']+)';$|^import '([^']+)';$|\bimport\('([^']+)'\)/gm;

const imports = [...files].flatMap(([path, text]) =>
  [...text.matchAll(statements)]
    .map((match) => match[1] ?? match[2] ?? match[3])
    .filter((target) => /^(\.|node:)/.test(target))
    .map((target) => ({
      from: path,
      target: target.startsWith('.') ? posix.join(posix.dirname(path), target) : target,
    })),
);

test('the scan sees what it must see', () => {
  expect(files.size).toBeGreaterThan(50);
  expect(imports).toContainEqual({ from: 'cli/main.ts', target: 'node:fs' });
  expect(imports).toContainEqual({ from: 'engine/local.ts', target: 'backends/index.ts' });
  for (const { target } of imports)
    if (!target.startsWith('node:')) expect(files.has(target), target).toBe(true);
});

describe('imports', () => {
  test('point down, or sideways to a contract', () => {
    const broken = imports
      .filter(({ target }) => !target.startsWith('node:'))
      .filter(({ from, target }) => {
        const [layer, other] = [layerOf(from), layerOf(target)];
        return layer !== other && !layers[layer]?.may.includes(other);
      })
      .map(({ from, target }) => {
        const rule = layers[layerOf(from)]?.rule ?? 'Every folder of src has a row in this table.';
        return `src/${from} imports src/${target}. ${rule}`;
      });
    expect(broken).toEqual([]);
  });

  test('of contracts: in a line, each of those before it', () => {
    const order = contracts.map((name) => `${name}.ts`);
    const broken = imports
      .filter(({ from, target }) => order.includes(from) && order.includes(target))
      .filter(({ from, target }) => order.indexOf(target) >= order.indexOf(from))
      .map(({ from, target }) => `src/${from} imports src/${target}, which comes after it.`);
    expect(broken).toEqual([]);
  });

  test.each(['models', 'kv', 'sparsity', 'eval/tasks', 'cli/commands'])(
    'between the files of %s: none',
    (folder) => {
      const broken = imports
        .filter(
          ({ from, target }) =>
            posix.dirname(from) === folder &&
            posix.dirname(target) === folder &&
            posix.basename(from) !== 'index.ts',
        )
        .map(
          ({ from, target }) =>
            `src/${from} imports src/${target}. Siblings do not import one another: what they share moves to parts/.`,
        );
      expect(broken).toEqual([]);
    },
  );

  test('of node: stay at the edge', () => {
    const edge: readonly RegExp[] = [
      /^cli\//,
      /^backends\/native\/(addon|cores)\.ts$/,
      /^loaders\/(fs|bundled)\.ts$/,
      /^texts\.ts$/,
      /^hub\/(cache|download|pull)\.ts$/,
      /^train\/(collect|examples|work-folder)\.ts$/,
      /^quantize\/quantize\.ts$/,
      /^bench\/bench\.ts$/,
    ];
    const broken = imports
      .filter(({ target }) => target.startsWith('node:'))
      .filter(({ from }) => !edge.some((where) => where.test(from)))
      .map(
        ({ from, target }) =>
          `src/${from} imports ${target}. node: appears only at the edge: files, downloads, the addon, commands, and what writes into folders (ARCHITECTURE.md).`,
      );
    expect(broken).toEqual([]);
  });
});

/** What no line may hold, outside some files. */
const banned: readonly { what: RegExp; except?: RegExp; rule: string }[] = [
  {
    what: /(?<!typeof )\b(modelType|model_type|family|method|sparsity|policy|backend)(\??\.name)?\s*[!=]==?\s*['"`]/,
    rule: 'Nothing compares a name: what shared code must know is a field each implementation declares.',
  },
  {
    what: /\b(switch|case)\b.*\b(modelType|model_type|\.name\b)/,
    rule: 'Nothing branches on a name: what shared code must know is a field each implementation declares.',
  },
  { what: /\bGPU[A-Z]\w+/, except: /^backends\/webgpu\//, rule: 'Only backends/webgpu says GPU*.' },
  {
    what: /process\.env/,
    except: /^cli\/main\.ts$/,
    rule: 'Environment variables are read at the edge of the command line alone.',
  },
  {
    what: /process\.(exit|stdout|stderr|argv)\b/,
    except: /^cli\/main\.ts$/,
    rule: 'Only cli/main.ts touches the process.',
  },
  { what: /\bconsole\./, rule: 'A library prints nothing.' },
  { what: /^export default\b/, rule: 'No default exports.' },
  { what: /^(export )?(const )?enum\b/, rule: 'No enums.' },
  { what: /(:|<|\bas) any\b/, rule: 'No any.' },
];

test.each(banned)('$rule', ({ what, except, rule }) => {
  const broken = [...files]
    .filter(([path]) => !except?.test(path))
    .flatMap(([path, text]) =>
      text
        .split('\n')
        .map((line, i) => ({ line, place: `src/${path}:${i + 1}` }))
        .filter(({ line }) => what.test(line) && !/^\s*(\/?\*|\/\/)/.test(line))
        .map(({ line, place }) => `${place}: ${line.trim()} · ${rule}`),
    );
  expect(broken).toEqual([]);
});

test.each(readdirSync(source, { withFileTypes: true }).filter((entry) => entry.isDirectory()))(
  'files of $name are no grab bag',
  ({ name }) => {
    const broken = [...files.keys()].filter(
      (path) => layerOf(path) === name && /(utils?|helpers?|manager|misc|common)\.ts$/i.test(path),
    );
    expect(broken).toEqual([]);
  },
);

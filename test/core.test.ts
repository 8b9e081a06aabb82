import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';
import { build, type BuildOptions, type Metafile } from 'esbuild';
import { beforeAll, describe, expect, test } from 'vitest';
import type * as core from '../src/core.ts';
import type * as tokenizer from '../src/tokenizer/index.ts';
import { Engine } from '../src/index.ts';
import { asGguf } from './support/as-gguf.ts';
import { walkImports } from './support/reach.ts';

const model = new URL('../models/books-6m/', import.meta.url);
const modelBytes = (file: string): Uint8Array => readFileSync(new URL(file, model));

describe('what core.ts imports', () => {
  const said = ({ found }: ReturnType<typeof walkImports>): string[] =>
    found.map(({ what, trail }) => `${trail.join(' → ')} needs ${what}, which only Node has`);

  test('needs no Node', () => {
    const walked = walkImports('core.ts');
    expect(walked.files).toContain('loaders/gguf/reader.ts');
    expect(said(walked)).toEqual([]);
  });

  test('needs no Node with a tokenizer either', () => {
    const walked = walkImports('tokenizer/index.ts');
    expect(walked.files).toContain('tokenizer/chat-template.ts');
    expect(said(walked)).toEqual([]);
  });

  test.each<[string, Record<string, string>, string]>([
    [
      'a module',
      { 'core.ts': "export { a } from './a.ts';", 'a.ts': "import { open } from 'node:fs';" },
      'core.ts → a.ts needs node:fs, which only Node has',
    ],
    [
      'a module without its prefix, later on',
      {
        'core.ts': "import './b/a.ts';",
        'b/a.ts': "const a = async () => await import('../c.ts');",
        'c.ts': "import os from 'os';",
      },
      'core.ts → b/a.ts → c.ts needs os, which only Node has',
    ],
    [
      'a global',
      { 'core.ts': 'export const f = (a: string) => Buffer.from(a);' },
      'core.ts needs Buffer, which only Node has',
    ],
    [
      'a global beside a variable of its name',
      { 'core.ts': 'export const [f, g] = [(process: A) => process, () => process];' },
      'core.ts needs process, which only Node has',
    ],
    [
      'a place on disk',
      { 'core.ts': 'export const here = import.meta.url;' },
      'core.ts needs import.meta, which only Node has',
    ],
  ])('and %s is found where there is one', (_, files, expected) => {
    expect(said(walkImports('core.ts', (path) => files[path]))).toEqual([expected]);
  });

  test('and types, properties and variables of such names are not', () => {
    const text = `import type { Stats } from 'node:fs';
      export interface A { process: Buffer }
      export const f = (a: A, { module: m } = a): Stats => [a.process, { exports: m }];
      export function g(process: () => void) { const global = 1; return [global, () => process()]; }`;
    expect(said(walkImports('core.ts', () => text))).toEqual([]);
  });
});

const entries = { core: './core.ts', tokenizer: './tokenizer/index.ts' };

/** The entries in one file, as a page loads them. */
async function bundle(
  names: readonly (keyof typeof entries)[],
  options: BuildOptions,
): Promise<{ code: string; metafile: Metafile; bytes: number }> {
  const contents = names.map((name) => `export * from '${entries[name]}';`).join('\n');
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL('../src', import.meta.url)) },
    ...{ bundle: true, minify: true, platform: 'browser', write: false, metafile: true },
    ...options,
  });
  const [{ contents: bytes, text }] = outputFiles!;
  return { code: text, metafile: metafile!, bytes: bytes.length };
}

/** Bytes of a bundle by package, those of src by room. */
function byPackage({ outputs }: Metafile): [string, number][] {
  const sums = new Map<string, number>();
  for (const [file, { bytesInOutput }] of Object.entries(Object.values(outputs)[0].inputs)) {
    const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)|(src\/[^/]+)/.exec(file);
    const part = name?.[1] ?? name?.[2] ?? file;
    sums.set(part, (sums.get(part) ?? 0) + bytesInOutput);
  }
  return [...sums].sort((a, b) => b[1] - a[1]);
}

test.each<[string, (keyof typeof entries)[], number]>([
  ['the core', ['core'], 263_000],
  ['the core with a tokenizer', ['core', 'tokenizer'], 430_000],
])('%s is small enough for a page', async (what, names, most) => {
  const { bytes, metafile } = await bundle(names, { format: 'esm' });
  const parts = byPackage(metafile).map(([name, size]) => `${name} ${size}`);
  console.log(`${what}, minified: ${bytes} bytes; ${parts.join(', ')}`);
  const classic = Object.keys(metafile.inputs).filter((file) => /zod\/v4\/classic/.test(file));
  expect(classic, 'schemas of the core are of zod/mini: three times smaller').toEqual([]);
  expect(bytes).toBeLessThanOrEqual(most);
});

describe('in a place without Node', () => {
  let code = '';
  beforeAll(async () => {
    // As of ES2022, since Node 20 reads no `await using`.
    const options = { format: 'iife', globalName: 'page', target: 'es2022' } as const;
    ({ code } = await bundle(['core', 'tokenizer'], options));
  });

  /** What a page has beside the language; JavaScript's own objects are the place's own. */
  const page = (): vm.Context => {
    const has = { TextEncoder, TextDecoder, performance, setTimeout };
    const codeGeneration = { strings: false, wasm: false };
    const context = vm.createContext({ ...has }, { codeGeneration });
    const define = vm.runInContext('(name, value) => { Symbol[name] ??= value; }', context) as (
      name: string,
      value: symbol,
    ) => void;
    define('dispose', Symbol.dispose);
    define('asyncDispose', Symbol.asyncDispose);
    vm.runInContext(code, context);
    return context;
  };
  const library = (): typeof core & typeof tokenizer =>
    (page() as { page: typeof core & typeof tokenizer }).page;

  test('there is none', () => {
    const names = ['process', 'Buffer', 'require', 'global', 'module', 'setImmediate', 'fetch'];
    const types = names.map((name) => vm.runInContext(`typeof ${name}`, page()) as string);
    expect(types).toEqual(names.map(() => 'undefined'));
  });

  const { greedy } = JSON.parse(readFileSync(new URL('golden.json', model), 'utf8')) as {
    greedy: { prompt: string; prompt_ids: number[]; ids: number[] }[];
  };

  const inMemory = (
    { memoryFolder }: typeof core,
    ...files: readonly string[]
  ): ReturnType<typeof core.memoryFolder> =>
    memoryFolder(Object.fromEntries(files.map((file) => [file, modelBytes(file)])));

  test.each(greedy.map((one) => [one.prompt, one] as const))(
    'books-6m of bytes in memory continues %j as transformers do',
    async (prompt, expected) => {
      const there = library();
      const files = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];
      await using engine = await there.Engine.open(inMemory(there, ...files), {
        ...{ backends: [there.reference], tokenizer: there.loadTokenizer },
      });
      const options = { maxTokens: 8, temperature: 0 };
      const { ids, promptIds } = await engine.generate(prompt, options).result;
      expect([...promptIds]).toEqual(expected.prompt_ids);
      expect([...ids]).toEqual(expected.ids.slice(0, 8));
    },
  );

  test('without a tokenizer it takes ids, and refuses text', async () => {
    const there = library();
    const folder = inMemory(there, 'config.json', 'model.safetensors', 'tokenizer.json');
    await using engine = await there.Engine.open(folder, { backends: [there.reference] });
    const [{ prompt, prompt_ids: promptIds, ids }] = greedy;
    const options = { maxTokens: 4, temperature: 0 };
    expect([...(await engine.generate(promptIds, options).result).ids]).toEqual(ids.slice(0, 4));
    expect(() => engine.encode(prompt)).toThrow(/opened without a tokenizer, expected `tokenizer`/);
    await expect(there.Engine.open(folder, { backends: [] })).rejects.toMatchObject({
      code: 'BAD_REQUEST',
      message: expect.stringMatching(/^`backends`: none is given/) as string,
    });
    expect(() => engine.path).toThrow(/^memory: lies in no folder of this machine/);
  });

  test('a GGUF file in memory is the same model as the folder it was made from', async () => {
    const path = fileURLToPath(new URL('data/parity/llama', import.meta.url));
    const options = { maxTokens: 6, temperature: 0 };
    await using here = await Engine.open(path, { backend: 'reference' });
    const expected = await here.generate([5, 17, 9], options).result;

    const there = library();
    const folder = there.memoryFolder({ 'llama.gguf': await asGguf(path) });
    const files = { name: 'tiny', folder, gguf: 'llama.gguf' };
    await using engine = await there.Engine.open(files, { backends: [there.reference] });
    const { model: name, ids } = await engine.generate([5, 17, 9], options).result;
    expect([name, ...ids]).toEqual(['tiny', ...expected.ids]);
  });

  test('a predictor in memory is known by the hash of its model', async () => {
    const options = { maxTokens: 6, temperature: 0 };
    await using here = await Engine.open('books-6m', { backend: 'reference' });
    expect(here.sparsity.name).toBe('predictor');
    const expected = await here.generate(greedy[0].prompt_ids, options).result;

    const there = library();
    const folder = inMemory(there, 'config.json', 'model.safetensors', 'predictor.safetensors');
    await using engine = await there.Engine.open(folder, { backends: [there.reference] });
    expect(engine.sparsity.name).toBe('predictor');
    const { ids, density } = await engine.generate(greedy[0].prompt_ids, options).result;
    expect([...ids]).toEqual([...expected.ids]);
    expect(density.neurons).toBe(expected.density.neurons);

    await using given = await folder.open('predictor.safetensors');
    const bare = inMemory(there, 'config.json', 'model.safetensors');
    const handed = { backends: [there.reference], predictor: given };
    await using again = await there.Engine.open(bare, handed);
    expect(again.sparsity.name).toBe('predictor');
    await expect(
      there.Engine.open(bare, { backends: [there.reference], sparsity: 'predictor' }),
    ).rejects.toMatchObject({ code: 'NO_PREDICTOR' });
  });
});

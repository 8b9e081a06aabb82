/** Models of the hub; a server on this machine stands in for it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { run } from '../src/cli/run.ts';
import { Engine } from '../src/engine/local.ts';
import type { GenerateResult } from '../src/engine/generate.ts';
import { pull, type PullOptions, type PullResult } from '../src/hub/pull.ts';
import { asGguf } from './support/as-gguf.ts';
import {
  commit,
  gitHash,
  type HubServer,
  type ListEntry,
  type Repository,
  sha256,
  startHub,
} from './support/hub-server.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const checkpoint = join(root, 'test/data/parity/llama');
const temporary = mkdtempSync(join(tmpdir(), 'dejavu-hub-'));
afterAll(() => rmSync(temporary, { recursive: true }));

const bytes = (content: string): Uint8Array => new TextEncoder().encode(content);
const [config, weights] = ['config.json', 'model.safetensors'].map((file) =>
  Uint8Array.from(readFileSync(join(checkpoint, file))),
);
const name = 'tiny/llama';
const files = {
  'README.md': bytes('not needed'),
  'config.json': config,
  'generation_config.json': bytes('{}'),
  'model.safetensors': weights,
  'pytorch_model.bin': bytes('pickled'),
};

let cache = '';
let server: HubServer | undefined;
let runs = 0;
beforeEach(() => void (cache = join(temporary, `cache ${runs++}`)));
afterEach(async () => {
  await server?.[Symbol.asyncDispose]();
  server = undefined;
});

async function hub(repository: Partial<Repository> = {}): Promise<PullOptions> {
  server = await startHub({ name, files, ...repository });
  return { endpoint: server.endpoint, cache, retryDelayMs: 0 };
}

const folder = (): string => join(cache, 'models--tiny--llama');
const blob = (of: Uint8Array): string => join(folder(), 'blobs', sha256(of));
const snapshot = (): string => join(folder(), 'snapshots', commit);
/** Every file below the cache, by its path. */
const tree = (): string[] =>
  existsSync(cache)
    ? readdirSync(cache, { recursive: true, withFileTypes: true })
        .filter((entry) => !entry.isDirectory())
        .map((entry) => entry.name)
        .sort()
    : [];

describe('pull', () => {
  test('takes what can be loaded, in the layout that other tools share', async () => {
    const options = await hub();
    const steps: [number, number, string][] = [];
    const result = await pull(name, { ...options, onProgress: (...step) => steps.push(step) });
    const total = config.length + 2 + weights.length;
    expect(result).toEqual({
      id: name,
      revision: commit,
      folder: snapshot(),
      path: snapshot(),
      files: [
        { name: 'config.json', bytes: config.length, cached: false },
        { name: 'generation_config.json', bytes: 2, cached: false },
        { name: 'model.safetensors', bytes: weights.length, cached: false },
      ],
      bytes: total,
    });
    expect(steps.at(-1)).toEqual([total, total, 'model.safetensors']);
    expect(readdirSync(snapshot()).sort()).toEqual(result.files.map((file) => file.name));
    expect(readdirSync(join(folder(), 'blobs')).sort()).toEqual(
      [gitHash(config), gitHash(bytes('{}')), sha256(weights)].sort(),
    );
    expect(readlinkSync(join(snapshot(), weightsFile))).toBe(`../../blobs/${sha256(weights)}`);
    expect(readFileSync(join(folder(), 'refs/main'), 'utf8')).toBe(commit);
    expect(readFileSync(join(snapshot(), weightsFile)).equals(weights)).toBe(true);
  });

  test('a second time asks for the list alone', async () => {
    const options = await hub();
    await pull(name, options);
    server!.seen.length = 0;
    const { files } = await pull(name, options);
    expect(files.every(({ cached }) => cached)).toBe(true);
    expect(server!.seen.every(({ path }) => path.startsWith('/api/'))).toBe(true);
  });

  test('shards that the index names, and no others', async () => {
    const index = {
      weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' },
    };
    const sharded = {
      'config.json': config,
      'model-00001-of-00002.safetensors': bytes('one'),
      'model-00002-of-00002.safetensors': bytes('two'),
      'model.safetensors.index.json': bytes(JSON.stringify(index)),
      'consolidated.safetensors': bytes('all'),
    };
    const result = await pull(name, await hub({ files: sharded }));
    expect(result.files.map((file) => file.name).sort()).toEqual([
      'config.json',
      'model-00001-of-00002.safetensors',
      'model-00002-of-00002.safetensors',
      'model.safetensors.index.json',
    ]);
  });

  test('a revision has its own ref; one the hub has not is refused', async () => {
    const options = await hub();
    await pull(`${name}@refs/pr/2`, options);
    expect(readFileSync(join(folder(), 'refs/refs/pr/2'), 'utf8')).toBe(commit);
    await expect(pull(name, { ...options, revision: 'v9' })).rejects.toMatchObject({
      code: 'NOT_ON_HUB',
      message: expect.stringContaining('RevisionNotFound') as string,
    });
    await expect(pull('tiny/other', options)).rejects.toMatchObject({ code: 'NOT_ON_HUB' });
    await expect(pull(name, { ...options, revision: '../../x' })).rejects.toMatchObject({
      code: 'BAD_REQUEST',
    });
  });

  test('pickled weights are no model', async () => {
    const { 'model.safetensors': _, ...pickled } = files;
    await expect(pull(name, await hub({ files: pickled }))).rejects.toMatchObject({
      code: 'NOT_ON_HUB',
      message: expect.stringContaining('pytorch_model.bin') as string,
    });
    expect(server!.of('pytorch_model.bin')).toEqual([]);
  });
});

describe('of GGUF files', () => {
  const quantized = {
    'llama-Q4_0.gguf': bytes('four'),
    'llama-Q8_0.gguf': bytes('eight'),
    'llama-Q8_0.predictor.safetensors': bytes('predictor'),
    'mmproj-llama-f16.gguf': bytes('eyes'),
    'big/llama-F16-00001-of-00002.gguf': bytes('first'),
    'big/llama-F16-00002-of-00002.gguf': bytes('second'),
  };

  test('one must be named where there are several, and the message lists them', async () => {
    const options = await hub({ files: quantized });
    await expect(pull(name, options)).rejects.toMatchObject({
      code: 'BAD_REQUEST',
      message: expect.stringContaining(
        'llama-Q4_0.gguf, llama-Q8_0.gguf, big/llama-F16-00001-of-00002.gguf',
      ) as string,
    });
    await expect(pull(`${name}:Q5_K`, options)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    expect(tree()).toEqual([]);
  });

  test('of those in the cache, the only one needs no name, one of two does', async () => {
    const options = await hub({ files: quantized });
    await pull(`${name}:Q4_0`, options);
    const offline = { ...options, offline: true };
    expect((await pull(name, offline)).path).toBe(join(snapshot(), 'llama-Q4_0.gguf'));
    await expect(pull(`${name}:Q8_0`, offline)).rejects.toMatchObject({ code: 'NOT_CACHED' });
    await pull(`${name}:Q8_0`, options);
    await expect(pull(name, offline)).rejects.toMatchObject({
      code: 'BAD_REQUEST',
      message: expect.stringContaining('llama-Q4_0.gguf, llama-Q8_0.gguf;') as string,
    });
  });

  test.each([
    [':llama-Q4_0.gguf', 'llama-Q4_0.gguf', ['llama-Q4_0.gguf']],
    [':q8_0', 'llama-Q8_0.gguf', ['llama-Q8_0.gguf', 'llama-Q8_0.predictor.safetensors']],
    [
      ':big/*',
      'big/llama-F16-00001-of-00002.gguf',
      ['big/llama-F16-00001-of-00002.gguf', 'big/llama-F16-00002-of-00002.gguf'],
    ],
  ])('%s is %s, with what belongs to it', async (which, opened, wanted) => {
    const result = await pull(`${name}${which}`, await hub({ files: quantized }));
    expect(result.path).toBe(join(snapshot(), opened));
    expect(result.files.map((file) => file.name)).toEqual(wanted);
    for (const file of wanted)
      expect(readFileSync(join(snapshot(), file))).toEqual(
        Buffer.from(quantized[file as keyof typeof quantized]),
      );
  });
});

const weightsFile = 'model.safetensors';

describe('a connection that breaks', () => {
  test('is taken up where it broke: no byte comes twice', async () => {
    const faults = [1000, 3000].map((after) => ({
      file: weightsFile,
      after,
      how: 'break' as const,
    }));
    const notes: string[] = [];
    const options = await hub({ faults });
    const { path } = await pull(name, { ...options, onNote: (line) => notes.push(line) });
    expect(server!.of(weightsFile).map(({ range, sent }) => [range, sent])).toEqual([
      [undefined, 1000],
      ['bytes=1000-', 3000],
      ['bytes=4000-', weights.length - 4000],
    ]);
    expect(notes).toHaveLength(2);
    expect(readFileSync(join(path, weightsFile)).equals(weights)).toBe(true);
  });

  test('more often than it may bring nothing is no matter while it brings something', async () => {
    const fault = { file: weightsFile, after: 100, how: 'break' as const };
    await pull(name, await hub({ faults: Array.from({ length: 8 }, () => fault) }));
    expect(server!.of(weightsFile).at(-1)!.range).toBe('bytes=800-');
  });

  test('an answer that ends early, as if it were whole', async () => {
    await pull(name, await hub({ faults: [{ file: weightsFile, after: 1000, how: 'end' }] }));
    expect(server!.of(weightsFile).at(-1)!.range).toBe('bytes=1000-');
  });

  test('of a small file, and a busy server, likewise', async () => {
    const faults = [{ file: 'config.json', after: 10, how: 'break' as const }];
    await pull(name, await hub({ faults, statuses: [503, 429] }));
    expect(server!.of('config.json').map(({ range }) => range)).toEqual([undefined, 'bytes=10-']);
  });

  test('that brings nothing five times ends the work; what came is kept for the next', async () => {
    const faults = [1000, 0, 0, 0, 0, 0].map((after) => ({
      ...{ file: weightsFile, after, how: 'break' as const },
    }));
    const options = await hub({ faults });
    await expect(pull(name, options)).rejects.toMatchObject({ code: 'HUB_UNREACHABLE' });
    expect(statSync(`${blob(weights)}.incomplete`).size).toBe(1000);
    expect(existsSync(join(folder(), 'refs/main'))).toBe(false);
    await expect(pull(name, { ...options, offline: true })).rejects.toMatchObject({
      code: 'NOT_CACHED',
    });
    server!.seen.length = 0;
    await pull(name, { ...options });
    const last = server!.of(weightsFile).at(-1)!;
    expect([last.range, last.sent]).toEqual(['bytes=1000-', weights.length - 1000]);
    expect(readFileSync(blob(weights)).equals(weights)).toBe(true);
  });

  test('to a server without ranges starts over', async () => {
    const faults = [{ file: weightsFile, after: 1000, how: 'break' as const }];
    await pull(name, await hub({ faults, whole: true }));
    expect(server!.of(weightsFile).map(({ sent }) => sent)).toEqual([1000, weights.length]);
    expect(readFileSync(blob(weights)).equals(weights)).toBe(true);
  });

  test('nobody listens', async () => {
    const options = await hub();
    await server![Symbol.asyncDispose]();
    server = undefined;
    await expect(pull(name, options)).rejects.toMatchObject({
      code: 'HUB_UNREACHABLE',
      message: expect.stringContaining('ECONNREFUSED') as string,
    });
  });

  test('an interruption keeps the finished part', async () => {
    const options = await hub({ faults: [{ file: weightsFile, after: 2000, how: 'hang' }] });
    const stop = new AbortController();
    const before = config.length + 2;
    const work = pull(name, {
      ...options,
      signal: stop.signal,
      onProgress: (done) => done === before + 2000 && stop.abort(),
    });
    await expect(work).rejects.toThrow();
    expect(statSync(`${blob(weights)}.incomplete`).size).toBe(2000);
    await pull(name, options);
    expect(server!.of(weightsFile).at(-1)!.range).toBe('bytes=2000-');
  });
});

describe('what a server sends is not trusted', () => {
  const changed = (at: number): Uint8Array =>
    weights.map((byte, i) => (i === at ? byte ^ 1 : byte));

  test.each([
    ['large', weightsFile, changed(5000)],
    ['small', 'config.json', config.map((byte) => byte ^ 1)],
  ])('a wrong byte of a %s file: refused, and nothing left', async (_, file, sent) => {
    await expect(pull(name, await hub({ wrong: { [file]: sent } }))).rejects.toMatchObject({
      code: 'BAD_DOWNLOAD',
      message: expect.stringContaining(`${file}: `) as string,
    });
    expect(existsSync(join(snapshot(), file))).toBe(false);
    const left = [sha256(files[file as keyof typeof files]), gitHash(sent), sha256(sent)];
    expect(tree().filter((found) => left.some((hash) => found.startsWith(hash)))).toEqual([]);
    expect(existsSync(join(folder(), 'refs/main'))).toBe(false);
  });

  test('a wrong part that another run left is thrown away, once', async () => {
    const options = await hub();
    mkdirSync(dirname(blob(weights)), { recursive: true });
    writeFileSync(`${blob(weights)}.incomplete`, changed(10).subarray(0, 2000));
    await pull(name, options);
    expect(server!.of(weightsFile).map(({ range }) => range)).toEqual(['bytes=2000-', undefined]);
    expect(readFileSync(blob(weights)).equals(weights)).toBe(true);
  });

  test('more bytes than are listed', async () => {
    const long = new Uint8Array(weights.length + 1);
    await expect(pull(name, await hub({ wrong: { [weightsFile]: long } }))).rejects.toMatchObject({
      code: 'BAD_DOWNLOAD',
      message: expect.stringContaining('more bytes come') as string,
    });
    expect(existsSync(blob(weights))).toBe(false);
  });

  test('a file larger than the disk is not begun', async () => {
    const options = await hub({
      list: (entries) =>
        entries.map((entry) =>
          entry.lfs ? { ...entry, lfs: { ...entry.lfs, size: 2 ** 52 } } : entry,
        ),
    });
    await expect(pull(name, options)).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(tree()).toEqual([]);
  });

  test.each([
    '../../../escaped.gguf',
    '/tmp/escaped.gguf',
    'a\\..\\escaped.gguf',
    'c:escaped.gguf',
  ])('a file named %s', async (path) => {
    const options = await hub({
      files: { 'model.gguf': bytes('x') },
      list: (entries) => entries.map((entry) => ({ ...entry, path })),
    });
    await expect(pull(name, options)).rejects.toMatchObject({
      code: 'BAD_DOWNLOAD',
      message: expect.stringContaining('out of the cache') as string,
    });
    expect(tree()).toEqual([]);
  });

  test.each([
    ['small', (entry: ListEntry) => ({ ...entry, oid: '../../../../escaped' })],
    [
      'large',
      ({ lfs, ...entry }: ListEntry) => ({
        ...entry,
        ...(lfs && { lfs: { ...lfs, oid: '../../../../escaped' } }),
      }),
    ],
  ])('a hash of a %s file that is a path', async (_, change) => {
    const options = await hub({ list: (entries) => entries.map(change) });
    await expect(pull(name, options)).rejects.toMatchObject({ code: 'BAD_DOWNLOAD' });
    expect(server!.seen.every(({ path }) => path.startsWith('/api/'))).toBe(true);
  });

  test('redirects without end', async () => {
    const redirect = `/${name}/resolve/${commit}/${weightsFile}?`;
    await expect(pull(name, await hub({ redirect }))).rejects.toMatchObject({
      code: 'HUB_UNREACHABLE',
      message: expect.stringContaining('more than 5 times') as string,
    });
    expect(server!.seen.filter(({ path }) => path.includes(weightsFile))).toHaveLength(6);
  });
});

describe('a gated model', () => {
  test('is refused without a token or with another one, and the message says so', async () => {
    const options = await hub({ token: 'hf_right' });
    await expect(pull(name, options)).rejects.toMatchObject({
      code: 'HUB_REFUSED',
      message: expect.stringMatching(/401: it is gated.*accept its terms.*HF_TOKEN/) as string,
    });
    await expect(pull(name, { ...options, token: 'hf_wrong' })).rejects.toMatchObject({
      code: 'HUB_REFUSED',
      message: expect.stringMatching(/403.*check HF_TOKEN/) as string,
    });
    await expect(pull(name, { ...options, token: 'hf_wrong' })).rejects.not.toMatchObject({
      message: expect.stringContaining('hf_wrong') as string,
    });
  });

  test('comes with the right one, which no other host is sent', async () => {
    await pull(name, { ...(await hub({ token: 'hf_right' })), token: 'hf_right' });
    const sent = (host: string): unknown[] => [
      ...new Set(server!.seen.filter((one) => one.host === host).map((one) => one.authorization)),
    ];
    expect(sent('hub')).toEqual(['Bearer hf_right']);
    expect(sent('cdn')).toEqual([undefined]);
  });
});

interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command line, with a home of the hub's tools of its own. */
async function dejavu(
  argv: readonly string[],
  env: Record<string, string> = {},
  signal = new AbortController().signal,
): Promise<Ran> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const [out, err] = [text(stdout), text(stderr)];
  const around = { HF_HUB_CACHE: cache, HF_HOME: join(cache, 'home'), ...env };
  const status = await run(argv, {
    stdin: Readable.from([]),
    stdout,
    stderr,
    env: around,
    signal,
  });
  stdout.end();
  stderr.end();
  return { status, stdout: await out, stderr: await err };
}

/** As huggingface_hub leaves it. */
function cacheByOthers(): void {
  for (const [file, content] of Object.entries({ 'config.json': config, [weightsFile]: weights })) {
    const hash = file === weightsFile ? sha256(content) : gitHash(content);
    mkdirSync(join(folder(), 'blobs'), { recursive: true });
    mkdirSync(snapshot(), { recursive: true });
    writeFileSync(join(folder(), 'blobs', hash), content);
    symlinkSync(`../../blobs/${hash}`, join(snapshot(), file));
  }
  mkdirSync(join(folder(), 'refs'));
  writeFileSync(join(folder(), 'refs/main'), commit);
}

const ids = ['--ids', '1,2,3', '--max-tokens', '4', '--temperature', '0', '--backend', 'reference'];

describe('the command line', () => {
  test('pull prints the folder; with --json all of it', async () => {
    const { endpoint } = await hub();
    const env = { HF_ENDPOINT: endpoint! };
    const { status, stdout, stderr } = await dejavu(['pull', name], env);
    expect([status, stdout]).toEqual([0, `${snapshot()}\n`]);
    expect(stderr).toMatch(/model\.safetensors · .* of/);
    const again = await dejavu(['pull', name, '--json'], env);
    const result = JSON.parse(again.stdout) as PullResult;
    expect(Object.keys(result)).toEqual(['id', 'revision', 'folder', 'path', 'files', 'bytes']);
    expect(result.files.map(({ cached }) => cached)).toEqual([true, true, true]);
  });

  test('--mirror wins over HF_ENDPOINT; the token is that of the environment or of the login', async () => {
    const { endpoint } = await hub({ token: 'hf_right' });
    const mirror = ['--mirror', endpoint!];
    const env = { HF_ENDPOINT: 'http://127.0.0.1:9' };
    const refused = await dejavu(['pull', name, ...mirror], env);
    expect([refused.status, refused.stderr]).toEqual([1, expect.stringContaining('[HUB_REFUSED]')]);
    mkdirSync(join(cache, 'home'), { recursive: true });
    writeFileSync(join(cache, 'home/token'), 'hf_right\n');
    expect((await dejavu(['pull', name, ...mirror], env)).status).toBe(0);
    const wrong = await dejavu(['pull', name, ...mirror], { ...env, HF_TOKEN: 'hf_wrong' });
    expect(wrong.stderr).toContain('[HUB_REFUSED]');
  });

  test('generate fetches a model first, and then never asks again', async () => {
    const { endpoint } = await hub();
    const argv = ['generate', name, ...ids, '--json', '--mirror', endpoint!];
    const first = await dejavu(argv);
    expect(first.status, first.stderr).toBe(0);
    expect(first.stderr).toContain('asking the hub');
    const local = await dejavu(['generate', checkpoint, ...ids, '--json']);
    const idsOf = ({ stdout }: Ran): unknown => (JSON.parse(stdout) as GenerateResult).ids;
    expect(idsOf(first)).toEqual(idsOf(local));
    server!.seen.length = 0;
    expect(idsOf(await dejavu(argv))).toEqual(idsOf(local));
    expect(server!.seen).toEqual([]);
  });

  test('a GGUF file of the hub', async () => {
    const { endpoint } = await hub({
      files: { 'llama-F32.gguf': await asGguf(checkpoint), 'llama-Q8_0.gguf': bytes('other') },
    });
    const argv = [...ids, '--json', '--mirror', endpoint!];
    const unnamed = await dejavu(['generate', name, ...argv]);
    expect(unnamed.status).toBe(2);
    expect(unnamed.stderr).toContain('llama-F32.gguf, llama-Q8_0.gguf');
    const { status, stderr } = await dejavu(['generate', `${name}:F32`, ...argv]);
    expect(status, stderr).toBe(0);
  });

  test.each([
    [['--offline'], {}],
    [[], { HF_HUB_OFFLINE: '1' }],
  ])(
    'offline (%j, %j): what another tool cached is used, what is not there says how to come by it',
    async (flags, env) => {
      const { endpoint } = await hub();
      const argv = ['generate', name, ...ids, '--json', '--mirror', endpoint!, ...flags];
      const missing = await dejavu(argv, env);
      expect([missing.status, missing.stderr]).toEqual([
        1,
        expect.stringMatching(/^error \[NOT_CACHED\]: tiny\/llama: .*"dejavu pull tiny\/llama"/),
      ]);
      cacheByOthers();
      expect((await dejavu(argv, env)).status).toBe(0);
      const pulled = await dejavu(['pull', name, '--json', ...flags], env);
      expect((JSON.parse(pulled.stdout) as PullResult).folder).toBe(snapshot());
      expect(server!.seen).toEqual([]);
    },
  );

  test('a link that leads nowhere is not in the cache', async () => {
    cacheByOthers();
    rmSync(blob(weights));
    expect(lstatSync(join(snapshot(), weightsFile)).isSymbolicLink()).toBe(true);
    expect((await dejavu(['pull', name, '--offline'])).stderr).toContain('[NOT_CACHED]');
    const { endpoint } = await hub();
    expect((await dejavu(['pull', name, '--mirror', endpoint!])).status).toBe(0);
    expect(readFileSync(join(snapshot(), weightsFile)).equals(weights)).toBe(true);
  });

  test('Ctrl-C ends it with 130 and says what is kept', async () => {
    const { endpoint } = await hub({ faults: [{ file: weightsFile, after: 2000, how: 'hang' }] });
    const stop = new AbortController();
    const ran = dejavu(['pull', name, '--mirror', endpoint!], {}, stop.signal);
    const partial = `${blob(weights)}.incomplete`;
    await expect.poll(() => existsSync(partial) && statSync(partial).size).toBe(2000);
    stop.abort();
    const { status, stderr } = await ran;
    expect(status).toBe(130);
    expect(stderr).toContain('what has come is kept');
    expect(statSync(partial).size).toBe(2000);
  });

  test('what is no id is refused', async () => {
    for (const model of ['books-6m', 'a/b/c', '../x', 'a--b/c', './a'])
      expect((await dejavu(['pull', model])).status, model).toBe(2);
  });
});

describe('Engine.open', () => {
  afterEach(() => vi.unstubAllEnvs());

  test('takes the id of a model in the cache, and fetches none', async () => {
    vi.stubEnv('HF_HUB_CACHE', cache);
    await expect(Engine.open(name)).rejects.toMatchObject({ code: 'NOT_CACHED' });
    cacheByOthers();
    await using engine = await Engine.open(name, { backend: 'reference' });
    expect([engine.model, engine.path]).toEqual([name, snapshot()]);
  });

  test('a folder of that name goes before', async () => {
    vi.stubEnv('HF_HUB_CACHE', cache);
    cpSync(checkpoint, join(cache, name), { recursive: true });
    const work = process.cwd();
    process.chdir(cache);
    try {
      await using engine = await Engine.open(name, { backend: 'reference' });
      expect(engine.path).toBe(name);
    } finally {
      process.chdir(work);
    }
  });
});

const main = join(root, 'dist/cli/main.js');
const built =
  existsSync(join(root, 'dist/hub/pull.js')) &&
  statSync(join(root, 'dist/hub/pull.js')).mtimeMs >
    Math.max(
      ...readdirSync(join(root, 'src/hub')).map(
        (file) => statSync(join(root, 'src/hub', file)).mtimeMs,
      ),
    );

test.skipIf(!built)(
  'a process that is killed leaves what came (skipped where dist/ is older than src/hub)',
  async () => {
    const options = await hub({ faults: [{ file: weightsFile, after: 2000, how: 'hang' }] });
    const env = { ...process.env, HF_HUB_CACHE: cache, HF_ENDPOINT: options.endpoint! };
    const child = spawn(process.execPath, [main, 'pull', name], { env });
    const partial = `${blob(weights)}.incomplete`;
    await expect.poll(() => existsSync(partial) && statSync(partial).size).toBe(2000);
    child.kill('SIGKILL');
    await once(child, 'close');
    expect(existsSync(join(folder(), 'refs/main'))).toBe(false);
    await pull(name, options);
    expect(server!.of(weightsFile).at(-1)!.range).toBe('bytes=2000-');
    expect(readFileSync(blob(weights)).equals(weights)).toBe(true);
  },
);

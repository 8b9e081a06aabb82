/** Models of the hub; a server on this machine stands in for it. */
import { cpSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { Engine } from '../src/engine/local.ts';
import { pull } from '../src/hub/pull.ts';
import {
  bytes,
  cache,
  cacheByOthers,
  checkpoint,
  config,
  files,
  folder,
  hub,
  name,
  server,
  snapshot,
  tree,
  weights,
  weightsFile,
} from './support/hub-cache.ts';
import { commit, gitHash, sha256 } from './support/hub-server.ts';

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

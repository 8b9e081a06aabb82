import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { reference } from '../src/backends/reference/index.ts';
import { ggufBytes } from '../src/bench/gguf.ts';
import { ggufModel } from '../src/bench/peers/architectures.ts';
import { importPackage } from '../src/bench/peers/package.ts';
import { bench } from '../src/bench/run.ts';
import { run } from '../src/cli/run.ts';
import type { WeightType } from '../src/loaders/convert.ts';
import { temporaryFile } from '../src/loaders/fs.ts';
import { syntheticCheckpoint } from '../src/loaders/synthetic.ts';
import { byteLength } from '../src/tensor.ts';

const parity = fileURLToPath(new URL('data/parity', import.meta.url));
const peerPackage = 'node-llama-cpp';
const installed = await import(peerPackage).then(
  () => true,
  () => false,
);

/** Everything temporary of these tests, so that what is left over is seen. */
const usual = process.env.TMPDIR;
const temporary = mkdtempSync(join(tmpdir(), 'dejavu-peer-test-'));
const own = join(temporary, 'own');
beforeAll(() => {
  mkdirSync(own);
  process.env.TMPDIR = own;
});
afterAll(() => {
  if (usual === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = usual;
  rmSync(temporary, { recursive: true });
});

async function dejavu(...argv: string[]): Promise<{ status: number; out: string; err: string }> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const [out, err] = [text(stdout), text(stderr)];
  const stdin = Readable.from([]);
  const signal = new AbortController().signal;
  const status = await run(argv, { stdin, stdout, stderr, env: {}, signal });
  stdout.end();
  stderr.end();
  return { status, out: await out, err: await err };
}

describe('refused', () => {
  test('an unknown peer', async () => {
    const { status, out, err } = await dejavu('bench', 'books-6m', '--peer', 'vllm');
    expect([status, out]).toEqual([2, '']);
    expect(err).toMatch(/^error \[BAD_REQUEST\]: --peer is "vllm", expected one of llama\.cpp; /);
  });

  test('a picture that is no SVG', async () => {
    const { status, err } = await dejavu('bench', 'books-6m', '--plot', 'speed.png');
    expect(status).toBe(2);
    expect(err).toMatch(/--plot is "speed\.png", expected .*\.svg/);
  });

  test('a package that is not there, with the command that installs it', async () => {
    const missing = importPackage('dejavu-no-such-peer', '1.2');
    await expect(missing).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      message: expect.stringContaining('npm install --no-save --ignore-scripts') as string,
    });
    await expect(missing).rejects.toThrow('dejavu-no-such-peer@1.2');
  });

  test.skipIf(installed)('llama.cpp where node-llama-cpp is not installed', async () => {
    const { status, err } = await dejavu('bench', 'books-6m', '--peer', 'llama.cpp');
    expect(status).toBe(1);
    expect(err).toMatch(/^error \[BACKEND_UNAVAILABLE\]: --peer: node-llama-cpp cannot be loaded/);
  });
});

const common = { hidden_size: 64, num_attention_heads: 4, vocab_size: 96 };
const optLike = { ...common, ffn_dim: 128, num_hidden_layers: 2, max_position_embeddings: 64 };
const llamaLike = {
  ...common,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  hidden_act: 'relu',
};

const backend = await reference.open({});

describe('a model for llama.cpp', () => {
  const prepared = (config: object, dtype: WeightType) => {
    const model = syntheticCheckpoint(config, backend, { dtype });
    const matrices = Object.entries(model.family.weights(model.config)).filter(
      ([name, { kind }]) =>
        kind === 'matrix' && name !== 'positions' && model.weights.find(name) !== undefined,
    );
    const ours = matrices.reduce(
      (sum, [name]) => sum + byteLength(dtype, model.weights.get(name).shape),
      0,
    );
    return { gguf: ggufModel(model), ours };
  };

  test.each([
    ['llama', 'llama', { ...llamaLike, model_type: 'llama', tie_word_embeddings: false }],
    [
      'gptneox',
      'gptneox',
      {
        ...common,
        model_type: 'gpt_neox',
        intermediate_size: 128,
        num_hidden_layers: 2,
        max_position_embeddings: 64,
      },
    ],
  ])('of %s has every matrix of ours in as many bytes', (_, architecture, config) => {
    for (const dtype of ['f32', 'f16', 'int8', 'int4', 'int4z'] as const) {
      const { gguf, ours } = prepared(config, dtype);
      const matrices = gguf.tensors.filter(({ shape }) => shape.length > 1);
      expect(matrices.reduce((sum, tensor) => sum + ggufBytes(tensor), 0)).toBe(ours);
      expect(gguf.architecture).toBe(architecture);
    }
  });

  test('of OPT is a GPT-2, and says so; a tied head is a matrix of its own', () => {
    const { gguf, ours } = prepared({ ...optLike, model_type: 'opt' }, 'int4');
    const matrices = gguf.tensors.filter(({ name }) => !/_norm|bias|position/.test(name));
    const bytes = matrices.reduce((sum, tensor) => sum + ggufBytes(tensor), 0);
    const [embedding, head] = matrices;
    expect([embedding.name, head.name]).toEqual(['token_embd.weight', 'output.weight']);
    expect(bytes - ggufBytes(head)).toBe(ours);
    expect(gguf.metadata['general.architecture']).toBe('gpt2');
    expect(gguf.architecture).toBe('gpt2 in place of opt: the same matrices');
    expect(gguf.tensors.find(({ name }) => name === 'blk.1.attn_qkv.weight')?.shape).toEqual([
      3 * 64,
      64,
    ]);
    expect(gguf.tensors.find(({ name }) => name === 'blk.1.ffn_down.weight')?.shape).toEqual([
      64, 128,
    ]);
  });

  test('is refused where a matrix has no place, or rows are no whole blocks', () => {
    const narrow = { ...optLike, model_type: 'opt', word_embed_proj_dim: 32 };
    expect(() => prepared(narrow, 'f16')).toThrow(/has no place for project(In|Out) of opt/);
    const odd = { ...llamaLike, model_type: 'llama', intermediate_size: 80 };
    expect(() => prepared(odd, 'int4')).toThrow(/stores Q4_0 in rows of a multiple of 32/);
    expect(() => prepared(odd, 'f16')).not.toThrow();
    const whole = { ...optLike, model_type: 'opt' };
    expect(() => prepared(whole, 'int4g64')).toThrow(/no type of as many bytes as int4g64/);
  });
});

test('a temporary file goes with what was made of it, when made or half made', async () => {
  {
    await using file = await temporaryFile('a', [Uint8Array.of(1)]);
    expect(existsSync(file.path)).toBe(true);
    expect(readdirSync(own)).toHaveLength(1);
  }
  expect(readdirSync(own)).toEqual([]);
  const interrupted = function* (): Generator<Uint8Array> {
    yield Uint8Array.of(1);
    expect(readdirSync(own)).toHaveLength(1);
    throw new DOMException('interrupted', 'AbortError');
  };
  await expect(temporaryFile('a', interrupted())).rejects.toThrow('interrupted');
  expect(readdirSync(own)).toEqual([]);
});

test('npm installs it in a checkout, as the documentation says', () => {
  const root = join(temporary, 'checkout');
  const peer = join(temporary, 'node-llama-cpp');
  for (const folder of [root, peer]) mkdirSync(folder);
  const { dependencies, devDependencies, scripts, ...description } = JSON.parse(
    readFileSync(fileURLToPath(new URL('../package.json', import.meta.url)), 'utf8'),
  ) as Record<string, unknown>;
  writeFileSync(join(root, 'package.json'), JSON.stringify(description));
  const version = '3.22.9';
  writeFileSync(join(peer, 'package.json'), JSON.stringify({ name: peerPackage, version }));
  const npm = (folder: string, ...argv: string[]): string =>
    execFileSync('npm', [...argv, '--offline', '--no-audit', '--no-fund'], {
      cwd: folder,
      encoding: 'utf8',
    });
  const tarball = join(peer, npm(peer, 'pack', '--silent').trim());
  npm(root, 'install', '--package-lock-only');
  npm(root, 'install', '--no-save', '--ignore-scripts', tarball);
  expect(readdirSync(join(root, 'node_modules'))).toContain(peerPackage);
});

/** Where it is not installed, each of these is reported as skipped. */
describe.runIf(installed)('beside llama.cpp', () => {
  test.each(['llama-gqa-tied', 'gpt-neox', 'opt'])('%s', async (name) => {
    const result = await bench(
      { model: join(parity, name), weights: ['f16', 'f32'], methods: ['dense'] },
      { peer: 'llama.cpp', context: 8, steps: 2, rounds: 2, batch: [1, 2], threads: 1 },
    );
    const { peer, peers = [] } = result;
    expect(peer).toBe(peers[0]);
    expect(peers.map(({ weights, phase, batch }) => `${weights} ${phase} ${batch}`)).toEqual([
      ...['f16 decode 1', 'f16 decode 2', 'f16 prefill 1'],
      ...['f32 decode 1', 'f32 decode 2', 'f32 prefill 1'],
    ]);
    for (const run of peers) {
      expect(run.tokensPerSecond.min).toBeGreaterThan(0);
      expect(run.ratios.dense.median).toBeGreaterThan(0);
      expect(run.version).toMatch(/node-llama-cpp \d+\.\d+/);
    }
    expect(readdirSync(own)).toEqual([]);
  });

  test('an interrupted one leaves no file', async () => {
    const interruption = new AbortController();
    const work = bench(
      { model: 'books-6m', weights: ['f16'], methods: ['dense'] },
      {
        ...{ peer: 'llama.cpp', context: 8, steps: 1, rounds: 3, threads: 1 },
        signal: interruption.signal,
        onRound: () => interruption.abort(),
      },
    );
    await expect(work).rejects.toThrow(/abort/);
    expect(readdirSync(own)).toEqual([]);
  });

  test('more weights than there is memory for are refused', async () => {
    const work = bench(
      { model: join(parity, 'opt'), weights: ['f32'], methods: ['dense'] },
      { peer: 'llama.cpp', context: 8, steps: 1, rounds: 1, memoryLimit: 1_000_000 },
    );
    await expect(work).rejects.toMatchObject({
      code: 'OUT_OF_MEMORY',
      message: expect.stringContaining('--peer') as string,
    });
  });
});

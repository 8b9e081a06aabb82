/** Matrices laid out one row an input hold what they hold one row an output, wherever they come from. */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend } from '../src/backend.ts';
import { reference } from '../src/backends/reference/index.ts';
import { Engine } from '../src/engine/local.ts';
import type { Checkpoint, LoadOptions } from '../src/loaders/checkpoint.ts';
import { syntheticCheckpoint } from '../src/loaders/synthetic.ts';
import { matricesOf, matrixName } from '../src/model.ts';
import { quantize } from '../src/quantize/quantize.ts';
import { hostTensor, rowReader, rowWriter } from '../src/rows.ts';
import { matrices } from '../src/selector.ts';
import type { Method, Sparsity } from '../src/sparsity.ts';
import { byteLength, type DType, reshape, type Tensor } from '../src/tensor.ts';
import { asGguf } from './support/as-gguf.ts';
import { loadCheckpoint } from './support/by-path.ts';

const parity = fileURLToPath(new URL('data/parity/', import.meta.url));
const shared = fileURLToPath(new URL('../../shared/models/', import.meta.url));

let backend: Backend;
let folder: string;
beforeAll(async () => {
  backend = await reference.open({});
  folder = await mkdtemp(join(tmpdir(), 'dejavu-layout-'));
});
afterAll(async () => {
  await backend[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** A matrix in memory, decoded, row by row. */
async function decoded(tensor: Tensor): Promise<Float32Array[]> {
  const [rows = 0, columns = 0] = tensor.shape;
  const [bytes] = await backend.read([tensor]);
  const read = rowReader({ ...tensor, bytes });
  return Array.from({ length: rows }, (_, row) => {
    const values = new Float32Array(columns);
    read(row, values);
    return values;
  });
}

const transpose = (rows: readonly Float32Array[]): Float32Array[] =>
  Array.from(rows[0], (_, i) => Float32Array.from(rows, (row) => row[i]));

/** Rows rounded to a type and decoded again. */
const rounded = (rows: readonly Float32Array[], dtype: DType): Float32Array[] =>
  rows.map((row) => {
    const tensor = hostTensor(dtype, [1, row.length]);
    rowWriter(tensor)(0, row);
    const values = new Float32Array(row.length);
    rowReader(tensor)(0, values);
    return values;
  });

/** Load by outputs, decoded to f32, and by inputs, and compare all matrices and their norms. */
async function compare(path: string, options: LoadOptions, dtype: DType): Promise<void> {
  const usual = await loadCheckpoint(path, backend, { weights: 'f32' });
  const laid = await loadCheckpoint(path, backend, { ...options, byInputs: matrices });
  let bytes = 0;
  for (const name of Object.keys(usual.family.weights(usual.config))) {
    const [from, to] = [usual, laid].map(({ weights }) => weights.find(name));
    if (to) bytes += byteLength(to.dtype, to.shape);
    if (!from || !to || !matricesOf(usual.description).some((m) => name.endsWith(m))) continue;
    const always = usual.weights.byInputs(name);
    expect(laid.weights.byInputs(name), name).toBe(true);
    const rows = await decoded(from);
    expect(to.dtype, name).toBe(dtype);
    const found = await decoded(to);
    if (!always) expect(found, name).toEqual(rounded(transpose(rows), dtype));
    const norms = await decoded(reshape(laid.weights.rowNorms(name, 1), [1, found.length]));
    norms[0].forEach((norm, n) => expect(norm).toBeCloseTo(Math.hypot(...found[n]), 4));
  }
  expect(laid.weightBytes).toBe(bytes);
  usual.release();
  laid.release();
}

describe.each(await readdir(parity))('%s', (name) => {
  it('holds the same', async () => {
    await compare(parity + name, { weights: 'f32' }, 'f32');
  });
});

it.each(['f16', 'int8', 'int4z'] as const)(
  'rounds the values of the file to %s',
  async (weights) => {
    await compare(`${parity}gpt2-scaled`, { weights }, weights);
  },
);

it('of a GGUF file, whose rows have another order', async () => {
  const file = join(folder, 'llama.gguf');
  await writeFile(file, await asGguf(`${parity}llama`));
  await compare(file, {}, 'f32');
});

it('of a quantized folder: auto rounds to int8, a type that is named to itself', async () => {
  const { output } = await quantize(`${parity}opt`, { bits: 4, output: join(folder, 'int4') });
  const load = (options: LoadOptions): Promise<Checkpoint> =>
    loadCheckpoint(output, backend, { ...options, byInputs: ['qProj', 'upProj'] });
  const held = await loadCheckpoint(output, backend, { weights: 'f32' });
  const own = held.weights.get('layers.1.mlp.upProj');
  const values = transpose(await decoded(own));
  const file = await loadCheckpoint(output, backend);
  for (const [options, dtype] of [
    [{}, 'int8'],
    [{ weights: file.dtype }, file.dtype],
    [{ weights: 'f32' }, 'f32'],
  ] as const) {
    const laid = await load(options);
    const tensor = laid.weights.get('layers.1.mlp.upProj');
    expect(tensor.dtype).toBe(dtype);
    expect(await decoded(tensor)).toEqual(rounded(values, dtype));
    const kept = laid.weights.get('layers.1.attention.kProj');
    expect(kept.dtype).toBe(options.weights === 'f32' ? 'f32' : file.dtype);
    expect(laid.weights.byInputs('layers.1.attention.kProj')).toBe(false);
  }
});

const gguf = `${shared}SmolLM2-135M/SmolLM2-135M-Instruct.Q4_1.gguf`;
it.skipIf(!existsSync(gguf))(
  'of blocks of a GGUF file, rounded to int8',
  async () => {
    const [usual, laid] = await Promise.all(
      [[], ['gateProj' as const]].map((byInputs) => loadCheckpoint(gguf, backend, { byInputs })),
    );
    const name = 'layers.3.mlp.gateProj';
    const tensor = laid.weights.get(name);
    expect(tensor.dtype).toBe('int8');
    const values = transpose(await decoded(usual.weights.get(name)));
    expect(await decoded(tensor)).toEqual(rounded(values, 'int8'));
  },
  120_000,
);

it('of a shape', async () => {
  const json: unknown = JSON.parse(await readFile(`${parity}llama/config.json`, 'utf8'));
  const made = syntheticCheckpoint(json, backend, { dtype: 'int8', byInputs: ['qProj', 'upProj'] });
  const usual = await loadCheckpoint(`${parity}llama`, backend, { byInputs: ['qProj', 'upProj'] });
  for (const matrix of matrices) {
    const [a, b] = [made, usual].map(({ weights }) => weights.get(matrixName(1, matrix)));
    expect(a.shape).toEqual(b.shape);
  }
  const values = (await decoded(made.weights.get('layers.1.mlp.upProj'))).flatMap((row) => [
    ...row,
  ]);
  const variance = values.reduce((sum, x) => sum + x * x, 0) / values.length;
  expect(variance * 64).toBeCloseTo(1, 1);
});

describe('a method that selects inputs', () => {
  const teal: Method = {
    name: 'teal-like',
    summary: 'of tests',
    needs: 'nothing',
    inputs: ['qProj', 'gateProj', 'oProj'],
    create: () => ({ name: 'teal-like', begin: () => ({ select: () => 'all' }) }),
  };

  it('is refused by an engine that was not opened for it', async () => {
    await using engine = await Engine.open(`${parity}llama`, { sparsity: 'dense' });
    expect(() => engine.method(teal)).toThrow(
      expect.objectContaining({
        code: 'BAD_REQUEST',
        message: expect.stringMatching(/teal-like.* qProj, gateProj, which .*`byInputs`/) as string,
      }) as Error,
    );
  });

  it('is made by one that was, of families with and without gates', async () => {
    for (const name of ['llama', 'opt']) {
      await using engine = await Engine.open(parity + name, { sparsity: teal });
      expect(engine.sparsity.name).toBe('teal-like');
      expect(engine.checkpoint.weights.byInputs('layers.0.attention.qProj')).toBe(true);
      expect(engine.checkpoint.weights.byInputs('layers.0.attention.kProj')).toBe(false);
      await using other = await Engine.open(parity + name, {
        ...{ sparsity: 'dense', byInputs: ['qProj', 'gateProj'] },
      });
      expect(other.method(teal).name).toBe('teal-like');
    }
  });

  it('and does not say so is refused when it is asked', async () => {
    await using engine = await Engine.open(`${parity}llama`, { sparsity: 'dense' });
    const begin: Sparsity['begin'] = () => ({
      select: () => 'all',
      inputs: { upProj: () => ({ select: 'all' }) },
    });
    using session = engine.session({ name: 'undeclared', begin });
    await expect(session.decode(3)).rejects.toThrow(
      expect.objectContaining({
        code: 'BAD_REQUEST',
        message: expect.stringContaining('layers.0.mlp.upProj') as string,
      }) as Error,
    );
  });
});

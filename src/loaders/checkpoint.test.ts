import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Backend } from '../backend.ts';
import { reference } from '../backends/reference/index.ts';
import { EngineError } from '../errors.ts';
import { f32, hostTensor, rowReader, rowWriter } from '../rows.ts';
import type { HostTensor } from '../op.ts';
import { modelTypes, size, type Tensor } from '../tensor.ts';
import type { FileType, WeightType } from './convert.ts';
import { readSafetensors, writeSafetensors } from './files.ts';
import { syntheticCheckpoint } from './synthetic.ts';
import { loadCheckpoint, hashCheckpoint } from '../../test/support/by-path.ts';

const parity = fileURLToPath(new URL('../../test/data/parity/', import.meta.url));
let folder: string;
let backend: Backend;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'checkpoint-'));
  backend = await reference.open({});
});
afterAll(() => rm(folder, { recursive: true }));

type Tensors = Map<string, HostTensor>;
type Json = Record<string, unknown>;

/** A copy of a parity checkpoint with its parts changed. */
async function variant(
  name: string,
  change: { config?: (json: Json) => void; tensors?: (tensors: Tensors) => void | Tensors },
): Promise<string> {
  const path = await mkdtemp(join(folder, `${name}-`));
  const json = JSON.parse(await readFile(`${parity}${name}/config.json`, 'utf8')) as Json;
  change.config?.(json);
  await writeFile(join(path, 'config.json'), JSON.stringify(json));
  const { tensors } = await readSafetensors(`${parity}${name}/model.safetensors`);
  const changed = change.tensors?.(tensors) ?? tensors;
  await writeSafetensors(join(path, 'model.safetensors'), changed);
  return path;
}

async function errorOf(work: Promise<unknown>): Promise<EngineError> {
  const error: unknown = await work.then(
    () => new Error('it was not refused'),
    (e: unknown) => e,
  );
  if (error instanceof EngineError) return error;
  throw error;
}

/** Rows of a weight in memory, as numbers. */
async function stored(tensor: Tensor): Promise<number[][]> {
  const bytes = (await backend.read([tensor]))[0];
  const [rows = 0, columns = rows] = tensor.shape;
  const shape = tensor.shape.length === 1 ? [1, rows] : [rows, columns];
  return rowsOf({ dtype: tensor.dtype, shape, bytes });
}

function rowsOf(t: HostTensor): number[][] {
  const [rows = 0, columns = 0] = t.shape;
  const read = rowReader(t);
  const row = new Float32Array(columns);
  return Array.from({ length: rows }, (_, i) => {
    read(i, row);
    return [...row];
  });
}

const converted = (tensor: HostTensor, to: FileType): HostTensor => {
  const result = hostTensor(to, tensor.shape);
  if (to === 'bf16') {
    const words = new Uint32Array(f32(tensor).buffer, tensor.bytes.byteOffset);
    new Uint16Array(result.bytes.buffer).forEach((_, i, halves) => (halves[i] = words[i] >>> 16));
  } else rowWriter({ ...result, shape: [1, f32(tensor).length] })(0, f32(tensor));
  return result;
};

const all = (tensors: Tensors, to: FileType): Tensors =>
  new Map([...tensors].map(([name, tensor]) => [name, converted(tensor, to)]));

describe('weights in memory', () => {
  const down = 'model.layers.1.mlp.down_proj.weight';
  const up = 'model.layers.1.mlp.up_proj.weight';
  const types: [FileType, WeightType][] = (['f32', 'f16', 'bf16'] as const).flatMap((from) =>
    (['f32', 'f16', ...modelTypes] as const).map((to): [FileType, WeightType] => [from, to]),
  );

  test.each(types)('%s of a file as %s', async (from, to) => {
    let file: Tensors = new Map();
    const path = await variant('llama', { tensors: (t) => (file = all(t, from)) });
    const model = await loadCheckpoint(path, backend, {
      weights: to,
    });
    const { weights } = model;
    expect(model.dtype).toBe(to);
    const encoded = (rows: number[][]): number[][] => {
      const t = hostTensor(to, [rows.length, rows[0].length]);
      const write = rowWriter(t);
      rows.forEach((row, i) => write(i, Float32Array.from(row)));
      return rowsOf(t);
    };
    const transpose = (rows: number[][]): number[][] =>
      rows[0].map((_, c) => rows.map((r) => r[c]));
    expect(await stored(weights.get('layers.1.mlp.upProj'))).toEqual(
      encoded(rowsOf(file.get(up)!)),
    );
    expect(await stored(weights.get('layers.1.mlp.downProj'))).toEqual(
      encoded(transpose(rowsOf(file.get(down)!))),
    );
    const norm = file.get('model.norm.weight')!;
    expect(await stored(weights.get('finalNorm'))).toEqual(rowsOf({ ...norm, shape: [1, 64] }));
    const elements = [...file.values()].reduce((sum, { shape }) => sum + size(shape), 0);
    if (to === 'f32') expect(model.weightBytes).toBe(4 * elements);
    model.release();
  });

  test('fused query, key and value are taken apart by head', async () => {
    const { weights } = await loadCheckpoint(`${parity}gpt-neox`, backend);
    const { tensors } = await readSafetensors(`${parity}gpt-neox/model.safetensors`);
    const fused = rowsOf(tensors.get('gpt_neox.layers.0.attention.query_key_value.weight')!);
    const key = await stored(weights.get('layers.0.attention.kProj'));
    const headDim = 16;
    for (const [row, head, d] of [
      [0, 0, 0],
      [17, 1, 1],
      [63, 3, 15],
    ])
      expect(key[row]).toEqual(fused[head * 3 * headDim + headDim + d]);
    const fusedBias = f32(tensors.get('gpt_neox.layers.0.attention.query_key_value.bias')!);
    const [bias] = await stored(weights.get('layers.0.attention.vProj.bias'));
    expect(bias[17]).toBe(fusedBias[1 * 3 * headDim + 2 * headDim + 1]);
  });

  test('norms of rows and of blocks of rows', async () => {
    const { weights } = await loadCheckpoint(`${parity}opt`, backend, { weights: 'int8' });
    const rows = await stored(weights.get('layers.2.mlp.downProj'));
    const [norms] = await stored(weights.rowNorms('layers.2.mlp.downProj', 1));
    expect(norms).toHaveLength(224);
    norms.forEach((norm, i) => expect(norm).toBeCloseTo(Math.hypot(...rows[i]), 5));
    const heads = await stored(weights.get('layers.0.attention.oProj'));
    const [gains] = await stored(weights.rowNorms('layers.0.attention.oProj', 16));
    expect(gains).toHaveLength(4);
    gains.forEach((gain, h) => {
      const block = heads.slice(h * 16, (h + 1) * 16).flat();
      expect(gain).toBeCloseTo(Math.hypot(...block) / 4, 5);
    });
    expect(weights.rowNorms('layers.2.mlp.downProj', 1)).toBe(
      weights.rowNorms('layers.2.mlp.downProj', 1),
    );
  });

  test.each<[FileType, boolean, WeightType]>([
    ['f32', true, 'f32'],
    ['f16', true, 'f16'],
    ['bf16', true, 'f16'],
    ['f16', false, 'f32'],
  ])('auto: %s with fast f16 %s is %s', async (from, fastF16, expected) => {
    const path = await variant('llama', { tensors: (t) => all(t, from) });
    const fast = Object.create(backend, {
      info: { value: { threads: 1, fastF16 } },
      allocate: { value: backend.allocate.bind(backend) },
      write: { value: backend.write.bind(backend) },
    }) as Backend;
    expect((await loadCheckpoint(path, fast)).dtype).toBe(expected);
  });

  test.each([
    ['gpt-neox', 'gpt_neox.'],
    ['opt', 'model.'],
    ['opt-350m', 'model.decoder.'],
    ['llama', 'model.'],
  ])('%s without the prefix %s is the same model', async (name, prefix) => {
    const path = await variant(name, {
      tensors: (t) => new Map([...t].map(([key, tensor]) => [key.replace(prefix, ''), tensor])),
    });
    const [stripped, whole] = [
      await loadCheckpoint(path, backend),
      await loadCheckpoint(`${parity}${name}`, backend),
    ];
    for (const key of ['embedding', 'layers.0.mlp.downProj', 'layers.2.attention.qProj'])
      expect(await stored(stripped.weights.get(key))).toEqual(await stored(whole.weights.get(key)));
  });
});

describe('what is refused at the door', () => {
  const load = async (...change: Parameters<typeof variant>) =>
    (await errorOf(variant(...change).then((path) => loadCheckpoint(path, backend)))).code;

  test('a folder that is not there, or has no configuration', async () => {
    expect((await errorOf(loadCheckpoint(join(folder, 'absent'), backend))).code).toBe(
      'FILE_NOT_FOUND',
    );
    const empty = await mkdtemp(join(folder, 'empty-'));
    expect((await errorOf(loadCheckpoint(empty, backend))).code).toBe('FILE_NOT_FOUND');
    await writeFile(join(empty, 'config.json'), '{');
    expect((await errorOf(loadCheckpoint(empty, backend))).code).toBe('BAD_CONFIG');
  });

  test('another family, or none', async () => {
    const as = (type: unknown) =>
      load('llama', { config: (json) => void (json.model_type = type) });
    expect(await as('mamba')).toBe('UNKNOWN_FAMILY');
    expect(await as('constructor')).toBe('UNKNOWN_FAMILY');
    expect(await as(undefined)).toBe('BAD_CONFIG');
  });

  test('a missing weight, by name', async () => {
    const name = 'model.layers.2.mlp.down_proj.weight';
    const path = await variant('llama', { tensors: (t) => void t.delete(name) });
    const error = await errorOf(loadCheckpoint(path, backend));
    expect(error).toMatchObject({ code: 'MISSING_TENSOR' });
    expect(error.message).toContain(name);
  });

  test('a weight of another shape or type', async () => {
    const replaced = (tensor: HostTensor) =>
      load('llama', { tensors: (t) => void t.set('model.norm.weight', tensor) });
    expect(await replaced(hostTensor('f32', [65]))).toBe('BAD_SHAPE');
    expect(await replaced(hostTensor('f32', [1, 64]))).toBe('BAD_SHAPE');
    expect(await replaced(hostTensor('i32', [64]))).toBe('BAD_SHAPE');
    const wider = (json: Json) => void (json.intermediate_size = 225);
    expect(await load('opt', { config: (json) => void (json.ffn_dim = 225) })).toBe('BAD_SHAPE');
    expect(await load('llama', { config: wider })).toBe('BAD_SHAPE');
  });

  test('a number that f16 cannot hold', async () => {
    const tensors = (t: Tensors): void => void (f32(t.get('lm_head.weight')!)[77] = 70_000);
    for (const type of ['f32', 'bf16'] as const) {
      const path = await variant('llama', {
        tensors: (t) => (tensors(t), all(t, type)),
      });
      expect((await loadCheckpoint(path, backend, { weights: 'f32' })).dtype).toBe('f32');
      const error = await errorOf(loadCheckpoint(path, backend, { weights: 'f16' }));
      expect(error).toMatchObject({ code: 'BAD_CHECKPOINT' });
      expect(error.message).toContain('lm_head.weight');
    }
  });

  test('a model that does not fit, before anything is allocated', async () => {
    const path = `${parity}llama`;
    const { weightBytes } = await loadCheckpoint(path, backend);
    const counting = Object.create(backend) as Backend;
    counting.allocate = () => {
      throw new Error('allocated');
    };
    const memoryLimit = weightBytes - 1;
    const error = await errorOf(loadCheckpoint(path, counting, { memoryLimit }));
    expect(error.code).toBe('OUT_OF_MEMORY');
    const fits = await loadCheckpoint(path, backend, { memoryLimit: weightBytes });
    expect(fits.weightBytes).toBe(weightBytes);
    const halved = await loadCheckpoint(path, backend, { memoryLimit, weights: 'f16' });
    expect(halved.weightBytes).toBeLessThan(weightBytes);
  });
});

test('a hash depends on configuration and weights, not on what lies beside them', async () => {
  const path = await mkdtemp(join(folder, 'hash-'));
  await cp(`${parity}opt`, path, { recursive: true });
  const first = await hashCheckpoint(path);
  expect(first).toMatch(/^[0-9a-f]{64}$/);
  await writeFile(join(path, 'predictor.safetensors'), 'x');
  expect(await hashCheckpoint(path)).toBe(first);
  const bytes = await readFile(join(path, 'model.safetensors'));
  bytes[bytes.length - 1] ^= 1;
  await writeFile(join(path, 'model.safetensors'), bytes);
  const second = await hashCheckpoint(path);
  expect(second).not.toBe(first);
  await writeFile(join(path, 'config.json'), '{}');
  expect(await hashCheckpoint(path)).not.toBe(second);
});

describe('synthetic models', () => {
  const config = async (name: string) =>
    JSON.parse(await readFile(`${parity}${name}/config.json`, 'utf8')) as Json;

  test.each<WeightType>(['f32', 'f16', ...modelTypes])(
    'have the weights of a loaded one, as %s',
    async (dtype) => {
      const json = await config('gpt-neox');
      const made = syntheticCheckpoint(json, backend, { dtype, seed: 1 });
      const loaded = await loadCheckpoint(`${parity}gpt-neox`, backend, { weights: dtype });
      expect(made.weightBytes).toBe(loaded.weightBytes);
      expect(made.description).toEqual(loaded.description);
      for (const name of Object.keys(loaded.family.weights(loaded.config))) {
        const [a, b] = [made.weights.get(name), loaded.weights.get(name)];
        expect([a.shape, a.dtype], name).toEqual([b.shape, b.dtype]);
      }
      const rows = await stored(made.weights.get('layers.1.mlp.downProj'));
      const values = rows.flat();
      const variance = values.reduce((sum, x) => sum + x * x, 0) / values.length;
      expect(variance * 224).toBeCloseTo(1, 1);
      const [norms] = await stored(made.weights.rowNorms('layers.1.mlp.downProj', 1));
      norms.forEach((norm, i) => expect(norm).toBeCloseTo(Math.hypot(...rows[i]), 5));
    },
  );

  test('depend on the seed alone, and refuse what does not fit', async () => {
    const json = await config('opt');
    const weights = async (seed: number) => {
      const made = syntheticCheckpoint(json, backend, { dtype: 'f16', seed });
      return stored(made.weights.get('layers.0.attention.qProj'));
    };
    expect(await weights(3)).toEqual(await weights(3));
    expect(await weights(3)).not.toEqual(await weights(4));
    expect(() => syntheticCheckpoint(json, backend, { dtype: 'f16', memoryLimit: 1000 })).toThrow(
      expect.objectContaining({ code: 'OUT_OF_MEMORY' }) as Error,
    );
  });
});

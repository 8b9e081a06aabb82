/** Checkpoints as GPTQ, AWQ and compressed-tensors publish them hold what they hold unpacked. */
import { cp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend } from '../src/backend.ts';
import { reference } from '../src/backends/reference/index.ts';
import { Engine, inspect } from '../src/engine/local.ts';
import { readSafetensors } from '../src/loaders/files.ts';
import { f32, hostTensor, rowReader, rowWriter } from '../src/rows.ts';
import { matrices } from '../src/selector.ts';
import { type Packed, type Tensors, writeTensors } from './support/packed.ts';
import { awq, contents, ct, folder, gptq, packed, variant } from './support/packed-folder.ts';

const turned = ['oProj', 'downProj'];

let backend: Backend;
beforeAll(async () => {
  backend = await reference.open({});
});
afterAll(() => backend[Symbol.asyncDispose]());

/** By their bits: quick, and 0 is not -0. */
function expectBits(found: Float32Array, expected: Float32Array, name: string): void {
  const [a, b] = [found, expected].map((x) => Buffer.from(x.buffer, x.byteOffset, x.byteLength));
  expect(a.equals(b), name).toBe(true);
}

const isMatrix = (name: string): boolean => matrices.some((matrix) => name.endsWith(`.${matrix}`));

/** What is packed how, and what rows by outputs become. */
const cases: readonly (readonly [model: string, how: Packed, dtype: string])[] = [
  ['llama', gptq, 'int4'],
  ['llama', { ...gptq, group: 64 }, 'int4g64'],
  ['llama', { ...gptq, group: -1 }, 'int4g64'],
  ['llama', { ...gptq, form: 'gptq_v2', symmetric: false }, 'int4z'],
  ['llama', { ...gptq, symmetric: false, group: -1 }, 'int4g64z'],
  ['llama', { ...gptq, ordered: true }, 'int8'],
  ['llama', { ...gptq, form: 'gptq_v2', ordered: true, symmetric: false }, 'int8'],
  ['llama', { ...gptq, group: 16 }, 'int8'],
  ['llama', { ...gptq, bits: 8 }, 'int8'],
  ['llama', { ...gptq, bits: 8, symmetric: false }, 'int8'],
  ['llama', { ...gptq, scales: 'BF16' }, 'int4'],
  ['gpt-neox', gptq, 'int4'],
  ['gpt2', { ...gptq, turned: true }, 'int4'],
  ['qwen3', awq, 'int4z'],
  [
    'gpt-neox',
    { ...awq, group: 64, pick: /query_key_value.weight|dense\w*4\w*.weight/ },
    'int4g64z',
  ],
  ['llama', { ...awq, group: -1 }, 'int4g64z'],
  ['llama', ct, 'int4'],
  ['gpt-neox', { ...ct, symmetric: false }, 'int4z'],
  ['llama', { ...ct, ordered: true }, 'int8'],
  ['llama', { ...ct, bits: 8, group: -1, scales: 'BF16' }, 'int8'],
  ['llama', { ...ct, form: 'int-quantized', bits: 8, group: -1 }, 'int8'],
  ['qwen3', { ...ct, form: 'int-quantized', bits: 8, symmetric: false }, 'int8'],
];

const say = ([model, how, dtype]: (typeof cases)[number]): string =>
  `${model}, ${JSON.stringify(how)}: ${dtype}`;

describe.each(cases.map((c) => [say(c), ...c] as const))('%s', (_, model, how, dtype) => {
  it('holds the same values as f32 and as f16', async () => {
    const paths = await packed(model, how);
    for (const type of ['f32', 'f16'] as const) {
      const [found, expected] = [
        await contents(backend, paths.packed, type),
        await contents(backend, paths.plain, type),
      ];
      expect([...found.keys()]).toEqual([...expected.keys()]);
      for (const [name, { dtype: is, values }] of expected) {
        expect(found.get(name)!.dtype, name).toBe(is);
        expectBits(found.get(name)!.values, values, name);
      }
    }
  });

  it('by itself: codes where rows of ours have them, int8 where not', async () => {
    const paths = await packed(model, how);
    const found = await contents(backend, paths.packed, 'auto');
    const exact = await contents(backend, paths.plain, 'f32');
    const rounded = await contents(backend, paths.plain, 'int8');
    const anew =
      dtype === 'int8' &&
      (how.ordered === true || how.group % 32 > 0 || (how.bits === 8 && !how.symmetric));
    for (const [name, { dtype: is, values }] of found) {
      if (
        !isMatrix(name) ||
        (how.pick &&
          !['qProj', 'kProj', 'vProj', 'upProj', 'downProj'].some((m) => name.endsWith(m)))
      ) {
        expect(is, name).toBe('f32');
        continue;
      }
      const byInputs = turned.some((m) => name.endsWith(m));
      expect(is, name).toBe(byInputs ? 'int8' : dtype);
      if (byInputs || anew) expectBits(values, rounded.get(name)!.values, name);
      else if (is.endsWith('z')) {
        // Minima are f16, so whole groups are off by up to half a unit in the last place of theirs.
        const as = exact.get(name)!.values;
        const largest = (of: Float32Array): number =>
          of.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
        expect(largest(values.map((x, i) => x - as[i])), name).toBeLessThan(largest(as) * 2 ** -10);
      } else expectBits(values, exact.get(name)!.values, name);
    }
  });
});

const ids = Int32Array.of(5, 17, 9, 100, 61, 3, 44);

/** What no weight shows: parts of fused ones, the order of rows. */
async function logits(model: string, weights: 'auto' | 'f32'): Promise<Float32Array> {
  const options = { backend: 'reference', sparsity: 'dense', activations: 'f32', weights } as const;
  await using engine = await Engine.open(model, options);
  using session = engine.session();
  return await session.prefill(ids);
}

describe('logits', () => {
  it.each([
    ['llama', gptq, /(o_proj|down_proj).weight/],
    ['gpt-neox', ct, /(attention.dense|4h_to_h).weight/],
  ] as const)(
    'of %s are those of its values, with outward matrices rounded to int8',
    async (model, how, outward) => {
      const paths = await packed(model, how);
      const copy = join(folder, `rounded-${model}`);
      await cp(paths.plain, copy, { recursive: true });
      const { tensors } = await readSafetensors(join(paths.plain, 'model.safetensors'));
      const stored: Tensors = new Map();
      for (const [name, { shape, bytes }] of tensors) {
        const values = f32({ dtype: 'f32', shape, bytes });
        if (outward.test(name)) roundColumns(values, shape);
        stored.set(name, { type: 'F32', shape, bytes });
      }
      writeTensors(join(copy, 'model.safetensors'), stored);
      expectBits(await logits(paths.packed, 'auto'), await logits(copy, 'f32'), model);
      expectBits(await logits(paths.packed, 'f32'), await logits(paths.plain, 'f32'), model);
    },
  );
});

/** Each column to int8 and back. */
function roundColumns(values: Float32Array, [rows = 0, columns = 0]: readonly number[]): void {
  const column = new Float32Array(rows);
  const code = hostTensor('int8', [1, rows]);
  for (let c = 0; c < columns; c++) {
    for (let r = 0; r < rows; r++) column[r] = values[r * columns + c];
    rowWriter(code)(0, column);
    rowReader(code)(0, column);
    for (let r = 0; r < rows; r++) values[r * columns + c] = column[r];
  }
}

it('reads shards, a module in two of them', async () => {
  const { packed: path } = await packed('llama', gptq);
  const whole = await contents(backend, path, 'auto');
  const all: Tensors = new Map();
  const split = await variant(path, {
    tensors: (tensors) => tensors.forEach((t, name) => all.set(name, t)),
  });
  const shardOf = (name: string): string =>
    /qzeros|layers.1/.test(name) ? 'b.safetensors' : 'a.safetensors';
  for (const shard of ['a.safetensors', 'b.safetensors'])
    writeTensors(join(split, shard), new Map([...all].filter(([name]) => shardOf(name) === shard)));
  const weight_map = Object.fromEntries([...all.keys()].map((name) => [name, shardOf(name)]));
  await rm(join(split, 'model.safetensors'));
  await writeFile(join(split, 'model.safetensors.index.json'), JSON.stringify({ weight_map }));
  const found = await contents(backend, split, 'auto');
  for (const [name, { values }] of whole) expectBits(found.get(name)!.values, values, name);
});

it('says at open and in inspect which matrices are rounded anew, and why', async () => {
  const { packed: path, plain } = await packed('llama', { ...gptq, ordered: true });
  const notes: string[] = [];
  const options = {
    backend: 'reference',
    sparsity: 'dense',
    onNote: (note: string) => notes.push(note),
  } as const;
  await (await Engine.open(path, options))[Symbol.asyncDispose]();
  expect(notes).toEqual([
    'gptq, 4 bits, groups of 32, act-order: qProj, kProj, vProj, gateProj, upProj rounded anew to int8 (its groups are not of consecutive inputs (act-order)); oProj, downProj rounded anew to int8 (one row an input here, and a scale of the file is for several inputs)',
  ]);
  const { packing, parameters, weightBytes } = await inspect(path);
  expect(packing).toEqual({
    form: 'gptq',
    scheme: '4 bits, groups of 32, act-order',
    keeping: [
      {
        dtype: 'int8',
        how: 'rounded',
        because: 'its groups are not of consecutive inputs (act-order)',
        matrices: ['qProj', 'kProj', 'vProj', 'gateProj', 'upProj'],
      },
      {
        dtype: 'int8',
        how: 'rounded',
        because: 'one row an input here, and a scale of the file is for several inputs',
        matrices: ['oProj', 'downProj'],
      },
    ],
  });
  const whole = await inspect(plain);
  expect(whole.packing).toBeUndefined();
  expect(parameters).toBe(whole.parameters);
  expect(weightBytes).toBeLessThan(whole.weightBytes / 2);
});

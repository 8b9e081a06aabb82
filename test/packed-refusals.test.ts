/** Packed checkpoints that ask for what is not computed, or contradict themselves. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend } from '../src/backend.ts';
import { reference } from '../src/backends/reference/index.ts';
import { EngineError } from '../src/errors.ts';
import { loadCheckpoint } from './support/by-path.ts';
import type { Packed, Stored, Tensors } from './support/packed.ts';
import { awq, contents, ct, gptq, type Json, packed, variant } from './support/packed-folder.ts';

let backend: Backend;
beforeAll(async () => {
  backend = await reference.open({});
});
afterAll(() => backend[Symbol.asyncDispose]());

/** What opening and reading all weights fails with. */
async function failureOf(path: string, weights: 'auto' | 'f32' = 'auto'): Promise<string> {
  try {
    (await loadCheckpoint(path, backend, { weights })).release();
  } catch (error) {
    if (error instanceof EngineError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'none';
}

const up = 'model.layers.1.mlp.up_proj';

describe('refuses by name', () => {
  const own = (config: Json): Json => (config.config_groups as { group_0: Json }).group_0;
  it.each<[string, Packed, (config: Json) => void]>([
    ['quant_method is "fp8"', gptq, (c) => (c.quant_method = 'fp8')],
    ['quant_method is undefined', gptq, (c) => delete c.quant_method],
    ['bits: is neither 4 nor 8', gptq, (c) => (c.bits = 3)],
    ['group_size: is neither -1 nor above 0', gptq, (c) => (c.group_size = 0)],
    ['checkpoint_format: is neither', gptq, (c) => (c.checkpoint_format = 'marlin')],
    ['is_marlin_format: Marlin', gptq, (c) => (c.is_marlin_format = true)],
    ['pack_dtype: is not int32', gptq, (c) => (c.pack_dtype = 'int16')],
    [
      'dynamic: gives "+:.*down.*"',
      gptq,
      (c) => (c.dynamic = { '-:lm_head': {}, '+:.*down.*': { bits: 8 } }),
    ],
    ['format: is neither gptq', gptq, (c) => (c.format = 'gptq_p')],
    ['meta.rotation: is not read', gptq, (c) => (c.meta = { rotation: 'random' })],
    ['format: is not gemm', awq, (c) => (c.format = 'gemv_fast')],
    ['rotation: is not read', gptq, (c) => (c.rotation = 'hadamard')],
    ['version: is not gemm', awq, (c) => (c.version = 'gemv')],
    ['bits: is not 4', awq, (c) => (c.bits = 8)],
    ['zero_point: codes without', awq, (c) => (c.zero_point = false)],
    ['backend: is not autoawq', awq, (c) => (c.backend = 'llm-awq')],
    ['format: is neither', ct, (c) => (c.format = 'marlin-24')],
    ['format: is neither', ct, (c) => (c.format = 'float-quantized')],
    ['input_activations: is set', ct, (c) => (own(c).input_activations = { num_bits: 8 })],
    ['weights.num_bits: is neither', ct, (c) => ((own(c).weights as Json).num_bits = 2)],
    ['weights.type: is not int', ct, (c) => ((own(c).weights as Json).type = 'float')],
    ['weights.strategy: is not', ct, (c) => ((own(c).weights as Json).strategy = 'block')],
    ['weights.actorder: is not', ct, (c) => ((own(c).weights as Json).actorder = 'diagonal')],
    ['kv_cache_scheme: is set', ct, (c) => (c.kv_cache_scheme = { num_bits: 8 })],
    [
      'sparsity_config.format: is not dense',
      ct,
      (c) => (c.sparsity_config = { format: 'sparse-24-bitmask' }),
    ],
    ['transform_config: is set', ct, (c) => (c.transform_config = { u: {} })],
    ['config_groups: has no group', ct, (c) => (c.config_groups = {})],
  ])('%s', async (message, how, quantization) => {
    const { packed: path } = await packed('llama', how);
    const found = await failureOf(await variant(path, { quantization }));
    expect(found).toMatch(/^BAD_CONFIG: config.json, quantization_config: /);
    expect(found).toContain(message);
  });
});

describe('hostile tensors', () => {
  const at = (tensors: Tensors, name: string): Stored => tensors.get(name)!;
  const words = ({ bytes }: Stored): Int32Array => new Int32Array(bytes.buffer);
  const halves = ({ bytes }: Stored): Uint16Array => new Uint16Array(bytes.buffer);
  const reshape = (tensors: Tensors, name: string, shape: number[]): void =>
    void tensors.set(name, { ...at(tensors, name), shape });
  it.each<[string, Packed, (tensors: Tensors) => void, string]>([
    [
      'a member is missing',
      gptq,
      (t) => t.delete(`${up}.scales`),
      `MISSING_TENSOR: ${up}: has no scales`,
    ],
    [
      'the order is missing',
      { ...gptq, ordered: true },
      (t) => t.delete(`${up}.g_idx`),
      `MISSING_TENSOR: ${up}: has no g_idx`,
    ],
    [
      'a module is missing',
      gptq,
      (t) => ['qweight', 'qzeros', 'scales', 'g_idx'].forEach((m) => t.delete(`${up}.${m}`)),
      'MISSING_TENSOR',
    ],
    [
      'none is packed',
      gptq,
      (t) => [...t.keys()].filter((name) => /qweight/.test(name)).forEach((name) => t.delete(name)),
      'BAD_CHECKPOINT',
    ],
    [
      'plain and packed',
      gptq,
      (t) => t.set(`${up}.weight`, at(t, 'model.norm.weight')),
      'BAD_CHECKPOINT',
    ],
    ['scales of another shape', gptq, (t) => reshape(t, `${up}.scales`, [224, 2]), 'BAD_SHAPE'],
    ['zero points of another shape', gptq, (t) => reshape(t, `${up}.qzeros`, [28, 2]), 'BAD_SHAPE'],
    ['an order of another shape', gptq, (t) => reshape(t, `${up}.g_idx`, [2, 32]), 'BAD_SHAPE'],
    ['a matrix of another shape', gptq, (t) => reshape(t, `${up}.qweight`, [16, 112]), 'BAD_SHAPE'],
    [
      'codes of floats',
      gptq,
      (t) => t.set(`${up}.qweight`, { ...at(t, `${up}.qweight`), type: 'F32' }),
      'BAD_SHAPE',
    ],
    ['a group below 0', gptq, (t) => words(at(t, `${up}.g_idx`)).fill(-1, 3, 4), `BAD_CHECKPOINT`],
    ['a group too large', gptq, (t) => words(at(t, `${up}.g_idx`)).fill(2, 3, 4), `BAD_CHECKPOINT`],
    [
      'a scale that is none',
      gptq,
      (t) => halves(at(t, `${up}.scales`)).fill(0x7e00, 5, 6),
      'BAD_CHECKPOINT',
    ],
    [
      'an endless scale',
      { ...ct, bits: 8, group: -1 },
      (t) => halves(at(t, `${up}.weight_scale`)).fill(0x7c00, 5, 6),
      'BAD_CHECKPOINT',
    ],
    [
      'a zero point that readers take differently',
      { ...gptq, symmetric: false },
      (t) => words(at(t, `${up}.qzeros`)).fill(-1, 0, 1),
      'BAD_CHECKPOINT',
    ],
    [
      'symmetric with other zero points',
      gptq,
      (t) => words(at(t, `${up}.qzeros`)).fill(0x66666666, 0, 1),
      'BAD_CHECKPOINT',
    ],
    [
      'packed rows of another shape',
      ct,
      (t) => reshape(t, `${up}.weight_packed`, [112, 16]),
      'BAD_SHAPE',
    ],
    [
      'a shape that is larger',
      ct,
      (t) => new BigInt64Array(at(t, `${up}.weight_shape`).bytes.buffer).fill(1n << 40n),
      'BAD_SHAPE',
    ],
    [
      'a shape below 0',
      ct,
      (t) => new BigInt64Array(at(t, `${up}.weight_shape`).bytes.buffer).fill(-224n),
      'BAD_SHAPE',
    ],
    ['no shape', ct, (t) => t.delete(`${up}.weight_shape`), 'MISSING_TENSOR'],
    ['no codes', ct, (t) => t.delete(`${up}.weight_packed`), 'MISSING_TENSOR'],
    ['scales of another group', ct, (t) => reshape(t, `${up}.weight_scale`, [112, 4]), 'BAD_SHAPE'],
    [
      'zero points of another group',
      { ...ct, symmetric: false },
      (t) => reshape(t, `${up}.weight_zero_point`, [14, 4]),
      'BAD_SHAPE',
    ],
    [
      'groups of unlike sizes',
      { ...ct, ordered: true },
      (t) => words(at(t, `${up}.weight_g_idx`)).fill(0),
      'BAD_CHECKPOINT',
    ],
    ['AWQ rows of another shape', awq, (t) => reshape(t, `${up}.qweight`, [32, 56]), 'BAD_SHAPE'],
  ])('%s', async (_, how, tensors, expected) => {
    const { packed: path } = await packed('llama', how);
    expect((await failureOf(await variant(path, { tensors }))).slice(0, expected.length)).toBe(
      expected,
    );
  });

  it('a scale of 0 makes a group of zeros', async () => {
    const { packed: path } = await packed('llama', gptq);
    const tensors = (t: Tensors): void => void halves(at(t, `${up}.scales`)).fill(0, 0, 1);
    for (const weights of ['auto', 'f32', 'int8'] as const) {
      const found = (await contents(backend, await variant(path, { tensors }), weights)).get(
        'layers.1.mlp.upProj',
      )!;
      expect(found.values.subarray(0, 32).every((x) => x === 0)).toBe(true);
      expect(found.values.subarray(32, 64).some((x) => x !== 0)).toBe(true);
    }
  });
});

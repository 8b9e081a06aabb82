import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { EngineError } from '../errors.ts';
import type { Description } from '../model.ts';
import { families, familyOf } from './index.ts';
import { frequenciesName, readRope, ropeFrequencies } from './parts/rope.ts';

type Json = Record<string, unknown>;

const folder = new URL('../../test/data/parity/', import.meta.url);
const base = (name: string): Json =>
  JSON.parse(readFileSync(new URL(`${name}/config.json`, folder), 'utf8')) as Json;

function read(json: Json): { description: Description; frequencies: Float32Array | undefined } {
  const family = familyOf(json, 'test');
  const config = family.config(json);
  return {
    description: family.describe(config),
    frequencies: family.constants(config)[frequenciesName],
  };
}

function refusal(json: Json): EngineError | undefined {
  try {
    read(json);
    return undefined;
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
}

test('every family has a name and model types of its own', () => {
  const types = families.flatMap(({ modelTypes }) => modelTypes);
  expect(new Set(types).size).toBe(types.length);
  expect(new Set(families.map(({ name }) => name)).size).toBe(families.length);
});

test.each(readdirSync(folder))('%s is described by its configuration', (name) => {
  const json = base(name);
  const { description } = read(json);
  expect(description).toMatchObject({
    family: json.model_type,
    layers: 3,
    heads: 4,
    kvHeads: json.num_key_value_heads ?? 4,
    headDim: 16,
    hiddenSize: 64,
    neurons: 224,
    vocabulary: 331,
    context: json.max_position_embeddings,
    activation: json.hidden_act ?? json.activation_function,
    endIds: [json.eos_token_id],
  });
});

describe('both layouts of transformers say the same', () => {
  const five = base('gpt-neox-relu');
  const frequencies = (change: Json): number[] => {
    return [...read({ ...five, rope_parameters: undefined, ...change }).frequencies!];
  };

  test('gpt_neox', () => {
    const expected = frequencies({
      rope_parameters: { rope_type: 'default', rope_theta: 500, partial_rotary_factor: 0.5 },
    });
    expect(expected).toHaveLength(4);
    expect(expected[1]).toBeCloseTo(500 ** -0.25, 6);
    expect(frequencies({ rotary_emb_base: 500, rotary_pct: 0.5 })).toEqual(expected);
    expect(frequencies({ rope_theta: 500, partial_rotary_factor: 0.5 })).toEqual(expected);
    expect(frequencies({})).toHaveLength(2);
  });

  test('llama, with scaling', () => {
    const { rope_scaling: scaling, rope_theta, ...rest } = base('llama3-rope');
    const four = read({ ...rest, rope_scaling: scaling, rope_theta }).frequencies;
    const parameters = { ...(scaling as Json), rope_theta };
    expect(read({ ...rest, rope_parameters: parameters }).frequencies).toEqual(four);
  });

  test('the older name of the scaling type', () => {
    const by = (rope_scaling: Json) => read({ ...base('llama'), rope_scaling }).frequencies;
    expect(by({ type: 'linear', factor: 4 })).toEqual(by({ rope_type: 'linear', factor: 4 }));
  });

  test('end ids: one, several, none', () => {
    const ends = (eos_token_id: unknown) =>
      read({ ...base('llama'), eos_token_id }).description.endIds;
    expect(ends(5)).toEqual([5]);
    expect(ends([5, 7])).toEqual([5, 7]);
    expect(ends(null)).toEqual([]);
    expect(ends(undefined)).toEqual([]);
  });
});

describe('rotary frequencies', () => {
  const of = (rope_scaling: Json): number[] => [
    ...ropeFrequencies(readRope({ rope_scaling }, { theta: 10_000, share: 1 }), 8),
  ];
  const plain = [1, 0.1, 0.01, 0.001];
  const close = (found: number[], expected: number[]): void => {
    expect(found).toHaveLength(expected.length);
    found.forEach((x, i) => expect(x / expected[i]).toBeCloseTo(1, 6));
  };

  test('fall from 1 to nearly 1 / theta', () => close(of({}), plain));
  test('linear: all are divided', () =>
    close(
      of({ rope_type: 'linear', factor: 4 }),
      plain.map((x) => x / 4),
    ));

  test('llama3: fast ones stay, slow ones are divided, between them is a slope', () => {
    // Wavelengths 6.28, 62.8, 628, 6283 against an original context of 628.3…: 100, 10, 1 and 0.1 turns.
    const context = Math.round(200 * Math.PI);
    const found = of({
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 2,
      high_freq_factor: 20,
      original_max_position_embeddings: context,
    });
    const kept = ((context * 0.1) / (2 * Math.PI) - 2) / 18;
    close(found, [1, 0.1 * (kept + (1 - kept) / 8), 0.01 / 8, 0.001 / 8]);
  });
});

describe('what is not computed is refused', () => {
  test.each<[string, string, Json]>([
    ['an activation', 'llama', { hidden_act: 'quick_gelu' }],
    ['an activation every object has', 'opt', { activation_function: 'constructor' }],
    ['a rotary scaling', 'llama', { rope_scaling: { rope_type: 'yarn', factor: 4 } }],
    ['a scaling without its parameters', 'llama', { rope_scaling: { rope_type: 'llama3', factor: 8 } }],
    ['a dynamic scaling in the newer layout', 'llama', { rope_parameters: { rope_type: 'dynamic' } }],
    ['attention in windows', 'llama', { sliding_window: 128 }],
    ['partial rotary in llama', 'llama', { partial_rotary_factor: 0.5 }],
    ['odd rotary sizes', 'gpt-neox', { rotary_pct: 0.2 }],
    ['quantized checkpoints', 'opt', { quantization_config: { quant_method: 'gptq' } }],
    ['heads that do not divide the width', 'opt', { num_attention_heads: 5 }],
    ['KV heads that do not divide the heads', 'llama', { num_key_value_heads: 3 }],
    ['no layers', 'gpt-neox', { num_hidden_layers: 0 }],
    ['endless layers', 'gpt-neox', { num_hidden_layers: 1e9 }],
    ['a width that is a text', 'opt', { hidden_size: '64' }],
    ['a missing width', 'llama', { intermediate_size: undefined }],
    ['a flag that is no flag', 'opt', { enable_bias: 'yes' }],
  ])('%s', (_, name, change) => {
    const error = refusal({ ...base(name), ...change });
    expect(error?.code).toBe('BAD_CONFIG');
    const [key] = Object.keys(change);
    expect(error?.message).toMatch(new RegExp(`${key}|rotary|rotated`));
  });

  test('what changes nothing is not', () => {
    expect(refusal({ ...base('llama'), sliding_window: null, rope_scaling: null })).toBeUndefined();
    expect(refusal({ ...base('opt'), dropout: 0.1, layerdrop: 0.1 })).toBeUndefined();
  });
});

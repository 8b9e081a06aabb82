import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { EngineError } from '../errors.ts';
import type { Description } from '../model.ts';
import { families, familyOf } from './index.ts';
import { alibiSlopes, slopesName } from './parts/alibi.ts';
import { frequenciesName, readRope, ropeFrequencies, rotationOf } from './parts/rope.ts';
import { readWindows } from './parts/windows.ts';

type Json = Record<string, unknown>;

const folder = new URL('../../test/data/parity/', import.meta.url);
const base = (name: string): Json =>
  JSON.parse(readFileSync(new URL(`${name}/config.json`, folder), 'utf8')) as Json;

interface Read {
  description: Description;
  weights: string[];
  frequencies: Float32Array | undefined;
  slopes: Float32Array | undefined;
}

function read(json: Json): Read {
  const family = familyOf(json, 'test');
  const config = family.config(json);
  const constants = family.constants(config);
  return {
    description: family.describe(config),
    weights: Object.entries(family.weights(config)).flatMap(([name, { from }]) =>
      from.length > 0 ? [name] : [],
    ),
    frequencies: constants[frequenciesName],
    slopes: constants[slopesName],
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

/** What most checkpoints of test/data/parity have, what those by scripts/parity.py have, and the rest. */
const usual: Partial<Description> = {
  layers: 3,
  heads: 4,
  kvHeads: 4,
  headDim: 16,
  hiddenSize: 64,
  neurons: 224,
  vocabulary: 331,
  context: 256,
  positions: 'rotary',
  gated: false,
};
const ours = { heads: 6, kvHeads: 6, headDim: 8, hiddenSize: 48, neurons: 144, context: 128 };
const gated = { gated: true, activation: 'silu', kvHeads: 2 } as const;
const described: Readonly<Record<string, Partial<Description>>> = {
  arcee: { kvHeads: 2, activation: 'relu2' },
  bloom: { positions: 'alibi', neurons: 256, context: 2048, activation: 'geluTanh' },
  'bloom-post-norm': { positions: 'alibi', ...ours, neurons: 192, context: 2048, activation: 'geluTanh' },
  'falcon-40b': { kvHeads: 2, activation: 'gelu' },
  'falcon-7b': { kvHeads: 1, activation: 'gelu' },
  'falcon-one-norm': { ...ours, kvHeads: 3, activation: 'relu', endIds: [11] },
  'falcon-relu': { activation: 'relu', kvHeads: 1 },
  'falcon-rw': { positions: 'alibi', activation: 'gelu' },
  'falcon-rw-fused': { positions: 'alibi', ...ours, activation: 'relu', endIds: [11] },
  'gpt-neox': { activation: 'gelu', endIds: [0] },
  'gpt-neox-relu': { activation: 'relu', endIds: [0] },
  gpt2: { positions: 'learned', activation: 'geluTanh', endIds: [0] },
  'gpt2-scaled': { positions: 'learned', ...ours, neurons: 192, activation: 'relu', endIds: [0] },
  llama: { ...gated, kvHeads: 4 },
  'llama-bias': { ...gated, kvHeads: 4 },
  'llama-gqa-tied': gated,
  'llama-yarn': gated,
  'llama-relu': { ...gated, activation: 'relu' },
  'llama-relu2': { ...gated, activation: 'relu2' },
  'llama3-rope': { ...gated, context: 512 },
  'mistral-window': gated,
  mpt: { positions: 'alibi', neurons: 256, activation: 'gelu', endIds: [] },
  'mpt-clip': { positions: 'alibi', ...ours, neurons: 192, activation: 'gelu', endIds: [] },
  'mpt-foundry': { positions: 'alibi', ...ours, neurons: 192, activation: 'gelu', endIds: [] },
  nemotron: { kvHeads: 2, activation: 'relu2' },
  opt: { positions: 'learned', activation: 'relu' },
  'opt-350m': { positions: 'learned', activation: 'relu' },
  qwen2: { ...gated, endIds: [] },
  'qwen2-yarn': gated,
  'qwen2-windows': { ...ours, ...gated, activation: 'relu', endIds: [] },
  qwen3: { ...gated, headDim: 32, endIds: [] },
  'qwen3-windows': { ...ours, ...gated, activation: 'relu', endIds: [] },
};

test.each(readdirSync(folder))('%s is described by its configuration', (name) => {
  const json = base(name);
  const expected = { ...usual, family: json.model_type, endIds: [2], ...described[name] };
  expect(read(json).description).toEqual(expected);
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

describe('published configurations', () => {
  test('bloom: sizes by the names of transformers, or of the first checkpoints', () => {
    const { hidden_size, n_head, n_layer, ...rest } = base('bloom');
    const older = {
      ...rest,
      n_embed: hidden_size,
      num_attention_heads: n_head,
      num_hidden_layers: n_layer,
    };
    expect(read(older)).toEqual(read(base('bloom')));
    expect(read({ ...older, seq_length: 4096 }).description.context).toBe(4096);
    expect(refusal(rest)?.message).toContain('hidden_size');
  });

  test('falcon: one key for all heads, one for each, one for a group', () => {
    const seven = base('falcon-7b');
    const heads = (change: Json) => read({ ...seven, ...change }).description.kvHeads;
    expect(heads({ num_kv_heads: 71 })).toBe(1);
    expect(heads({ num_kv_heads: undefined, multi_query: false })).toBe(4);
    expect(heads({ num_kv_heads: 2, new_decoder_architecture: true })).toBe(2);
    expect(read({ ...seven, ffn_hidden_size: undefined }).description.neurons).toBe(256);
  });

  test('falcon: norms by architecture', () => {
    const norms = (change: Json) =>
      read({ ...base('falcon-7b'), ...change }).weights.filter((n) => /^layers.0.*Norm$/.test(n));
    const [one, two] = [['layers.0.attentionNorm'], ['layers.0.attentionNorm', 'layers.0.mlpNorm']];
    expect(norms({})).toEqual(one);
    expect(norms({ parallel_attn: false })).toEqual(two);
    expect(norms({ new_decoder_architecture: true })).toEqual(two);
    expect(norms({ new_decoder_architecture: true, num_ln_in_parallel_attn: 1 })).toEqual(one);
  });

  test('falcon: what reference outputs do with ALiBi, and what fused attention does', () => {
    const slopes = (change: Json) => [...read({ ...base('falcon-rw'), ...change }).slopes!];
    const once = [...alibiSlopes(4)].map((slope) => slope / 4);
    expect(slopes({ attn_implementation: 'sdpa' })).toEqual(once);
    expect(slopes({})).toEqual(once.map((slope) => 2 * slope));
    expect(read(base('falcon-rw')).frequencies).toBeUndefined();
    expect(read(base('falcon-7b')).slopes).toBeUndefined();
  });

  test('gpt2: four times as many neurons unless it says otherwise', () => {
    expect(read({ ...base('gpt2'), n_inner: null }).description.neurons).toBe(256);
    expect(read({ ...base('gpt2'), tie_word_embeddings: false }).weights).toContain('lmHead');
  });

  test('mpt: no attn_config, ratios, biases and norms of queries', () => {
    const mpt = base('mpt');
    const plain = read(mpt);
    expect(read({ ...mpt, attn_config: undefined })).toEqual(plain);
    expect(read({ ...mpt, expansion_ratio: 2.5 }).description.neurons).toBe(160);
    const more = { no_bias: false, attn_config: { qk_ln: true, alibi_bias_max: 16 } };
    const found = read({ ...mpt, ...more });
    for (const name of ['attention.qNorm', 'attention.qProj.bias', 'mlpNorm.bias']) {
      expect(found.weights).toContain(`layers.2.${name}`);
      expect(plain.weights).not.toContain(`layers.2.${name}`);
    }
    expect(found.slopes).toEqual(alibiSlopes(4, 16));
  });

  test('qwen3: heads of 128 unless it says otherwise', () => {
    const read3 = (change: Json) => read({ ...base('qwen3'), ...change }).description.headDim;
    expect(read3({ head_dim: undefined })).toBe(128);
  });
});

describe('slopes of ALiBi', () => {
  const of = (heads: number, farthest?: number): number[] => [...alibiSlopes(heads, farthest)];

  test('fall in powers of two', () => {
    expect(of(1)).toEqual([2 ** -8]);
    expect(of(4)).toEqual([2 ** -2, 2 ** -4, 2 ** -6, 2 ** -8]);
    expect(of(2, 16)).toEqual([2 ** -8, 2 ** -16]);
  });

  test('of other numbers: those of the power below, then every second of the power above', () => {
    const [four, eight] = [of(4), of(8)];
    expect(of(6)).toEqual([...four, eight[0], eight[2]]);
    expect(of(7).slice(0, 6)).toEqual(of(6));
  });
});

describe('windows by layer', () => {
  const of = (change: Partial<Parameters<typeof readWindows>[0]>): number[] =>
    readWindows({
      num_hidden_layers: 4,
      use_sliding_window: true,
      sliding_window: 9,
      max_window_layers: 2,
      layer_types: undefined,
      ...change,
    });

  test('from max_window_layers on', () => expect(of({})).toEqual([0, 0, 9, 9]));
  test('where layer_types says so', () => {
    const [full, sliding] = ['full_attention', 'sliding_attention'] as const;
    expect(of({ layer_types: [sliding, full, full, sliding] })).toEqual([9, 0, 0, 9]);
  });
  test('nowhere unless they are used', () => {
    expect(of({ use_sliding_window: false })).toEqual([0, 0, 0, 0]);
    expect(of({ sliding_window: null })).toEqual([0, 0, 0, 0]);
  });
});

describe('rotary frequencies', () => {
  const of = (rope_scaling: Json): number[] => [
    ...ropeFrequencies(readRope(
        { rope_scaling, max_position_embeddings: 256 },
        { theta: 10_000, share: 1 },
      ), 8),
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

test('yarn: by turns within the original context, and a factor on attention', () => {
  const rope = (given: Json) =>
    readRope(
      { rope_scaling: { rope_type: 'yarn', ...given }, max_position_embeddings: 256 },
      { theta: 10_000, share: 1 },
    );
  const scale = (given: Json): number => rotationOf({ get: () => 0 } as never, rope(given), 8).scale;
  const given = { factor: 4, original_max_position_embeddings: 64 };
  expect(scale(given)).toBeCloseTo(0.1 * Math.log(4) + 1, 12);
  expect(scale({ ...given, attention_factor: 1.5 })).toBe(1.5);
  expect(scale({ ...given, mscale: 0.5, mscale_all_dim: 1 })).toBeCloseTo(
    (0.05 * Math.log(4) + 1) / (0.1 * Math.log(4) + 1),
    12,
  );
  // Pairs that turn 32 times to once in 64 positions would be 0 to 2 (rounded outwards): the second lies half-way.
  const found = Array.from(ropeFrequencies(rope(given), 8));
  [1, (0.1 + 0.1 / 4) / 2, 0.01 / 4, 0.001 / 4].forEach((x, i) => expect(found[i] / x).toBeCloseTo(1, 6));
});

describe('what is not computed is refused', () => {
  test.each<[string, string, Json]>([
    ['an activation', 'llama', { hidden_act: 'quick_gelu' }],
    ['an activation every object has', 'opt', { activation_function: 'constructor' }],
    ['a rotary scaling', 'llama', { rope_scaling: { rope_type: 'longrope', factor: 4 } }],
    ['a scaling every object has', 'llama', { rope_scaling: { rope_type: 'constructor' } }],
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
    ['a partial rotary in falcon', 'falcon-7b', { partial_rotary_factor: 0.5 }],
    ['two norms in the older falcon', 'falcon-7b', { num_ln_in_parallel_attn: 2 }],
    ['three norms in falcon', 'falcon-40b', { num_ln_in_parallel_attn: 3 }],
    ['groups of keys in the older falcon', 'falcon-rw', { num_kv_heads: 2 }],
    ['keys that do not divide the heads of falcon', 'falcon-40b', { num_kv_heads: 3 }],
    ['an MLP of another width in bloom', 'bloom', { n_inner: 100 }],
    ['attention to another text', 'gpt2', { add_cross_attention: true }],
    ['a width that heads do not divide', 'gpt2', { n_embd: 66 }],
    ['a prefix that sees itself', 'mpt', { attn_config: { prefix_lm: true } }],
    ['positions without ALiBi', 'mpt', { attn_config: { alibi: false } }],
    ['one key for all heads of mpt', 'mpt', { attn_config: { attn_type: 'multiquery_attention' } }],
    ['texts side by side', 'mpt', { attn_config: { attn_uses_sequence_id: true } }],
    ['rotary in mpt', 'mpt', { attn_config: { rope: true } }],
    ['scaled logits', 'mpt', { logit_scale: 'inv_sqrt_d_model' }],
    ['another norm in mpt', 'mpt', { norm_type: 'rmsnorm' }],
    ['another MLP in mpt', 'mpt', { ffn_config: { ffn_type: 'mptglu' } }],
    ['parts of neurons', 'mpt', { expansion_ratio: 2.51 }],
    ['a window of nothing', 'mistral-window', { sliding_window: 0 }],
    ['a kind of layer', 'qwen3', { layer_types: ['linear_attention'] }],
    ['kinds of too few layers', 'qwen3', { layer_types: ['full_attention'] }],
    [
      'sliding layers without a window',
      'qwen2',
      { layer_types: ['sliding_attention', 'full_attention', 'full_attention'] },
    ],
  ])('%s', (_, name, change) => {
    const error = refusal({ ...base(name), ...change });
    expect(error?.code).toBe('BAD_CONFIG');
    const [key] = Object.keys(change);
    expect(error?.message).toMatch(new RegExp(`${key}|rotary|rotated`));
  });

  test('what changes nothing is not', () => {
    expect(refusal({ ...base('llama'), sliding_window: null, rope_scaling: null })).toBeUndefined();
    expect(refusal({ ...base('opt'), dropout: 0.1, layerdrop: 0.1 })).toBeUndefined();
    expect(refusal({ ...base('gpt2'), reorder_and_upcast_attn: true })).toBeUndefined();
    expect(refusal({ ...base('bloom'), n_inner: null, slow_but_exact: true })).toBeUndefined();
    expect(refusal({ ...base('mistral-window'), sliding_window: null })).toBeUndefined();
    expect(refusal({ ...base('mpt'), embedding_fraction: 0.5, learned_pos_emb: false })).toBeUndefined();
  });
});

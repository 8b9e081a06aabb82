import { readFileSync } from 'node:fs';
import { f32, hostTensor } from '../../src/rows.ts';
import { readSafetensors } from '../../src/loaders/files.ts';
import type { HostTensor } from '../../src/op.ts';
import { size } from '../../src/tensor.ts';
import { encodeGguf, type GgufValue } from './gguf-file.ts';

/**
 * A checkpoint of Hugging Face's as llama.cpp's convert_hf_to_gguf.py writes it, in f32: its names, and the
 * reshapes and transposes it does, written down as it does them. `more` are metadata beside those it takes from config.json.
 */
export async function asGguf(
  folder: string,
  more: readonly (readonly [key: string, value: GgufValue])[] = [],
): Promise<Uint8Array<ArrayBuffer>> {
  const config = JSON.parse(readFileSync(`${folder}/config.json`, 'utf8')) as Config;
  const { tensors } = await readSafetensors(`${folder}/model.safetensors`);
  const { name, metadata, names, change } = conversions[String(config.model_type)];
  const written = [...tensors].flatMap(([key, tensor]) => {
    const stem = key.replace(/\.(weight|bias)$/, '');
    const block = /\.(\d+)\./.exec(stem)?.[1] ?? '';
    const to = names[stem.replace(/\.\d+\./, '.{}.')];
    if (!to) return [];
    const { bytes, shape } = change?.(to, tensor, config) ?? tensor;
    const kind = key.slice(stem.length);
    return [{ name: to.replace('{}', block) + kind, shape, type: 0, bytes }];
  });
  return encodeGguf({
    metadata: [
      ['general.architecture', name],
      ...Object.entries(metadata(config)).map(([key, value]): [string, GgufValue] => [
        `${name}.${key}`,
        value,
      ]),
      ...(config.eos_token_id == null
        ? []
        : [['tokenizer.ggml.eos_token_id', Number(config.eos_token_id)] as const]),
      ...more,
    ],
    tensors: [...written, ...(scalingFactors(config) ?? [])],
  });
}

type Config = Readonly<Record<string, unknown>>;

interface Conversion {
  readonly name: string;
  readonly metadata: (c: Config) => Readonly<Record<string, GgufValue>>;
  readonly names: Readonly<Record<string, string>>;
  readonly change?: (to: string, tensor: HostTensor, c: Config) => HostTensor | undefined;
}

const float = (value: unknown): GgufValue => ({ type: 6, value: Number(value) });

/** `tensor.reshape(shape).permute(axes)`, as one of `result`'s shape. */
function permuted(
  tensor: HostTensor,
  shape: readonly number[],
  axes: readonly number[],
  result: readonly number[] = tensor.shape,
): HostTensor {
  const into = hostTensor('f32', result);
  const strides = shape.map((_, axis) => size(shape.slice(axis + 1)));
  const [from, to] = [f32(tensor), f32(into)];
  const lengths = axes.map((axis) => shape[axis]);
  for (let i = 0; i < to.length; i++) {
    let rest = i;
    let at = 0;
    for (let k = axes.length - 1; k >= 0; k--) {
      at += (rest % lengths[k]) * strides[axes[k]];
      rest = Math.floor(rest / lengths[k]);
    }
    to[i] = from[at];
  }
  return into;
}

/** Columns of a matrix; one of a bias. */
const width = ({ shape }: HostTensor): number => shape[1] ?? 1;

const llamaNames = (prefix: string): Record<string, string> => ({
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
  ...Object.fromEntries(
    Object.entries({
      input_layernorm: 'attn_norm',
      'self_attn.q_proj': 'attn_q',
      'self_attn.k_proj': 'attn_k',
      'self_attn.v_proj': 'attn_v',
      'self_attn.o_proj': 'attn_output',
      'self_attn.q_norm': 'attn_q_norm',
      'self_attn.k_norm': 'attn_k_norm',
      post_attention_layernorm: 'ffn_norm',
      'mlp.gate_proj': 'ffn_gate',
      'mlp.up_proj': 'ffn_up',
      'mlp.down_proj': 'ffn_down',
    }).map(([from, to]) => [`${prefix}.{}.${from}`, `blk.{}.${to}`]),
  ),
});

const rope = (c: Config): Record<string, unknown> =>
  (c.rope_parameters as Config | undefined) ?? {};

const llamaMetadata = (c: Config): Record<string, GgufValue> => {
  const heads = Number(c.num_attention_heads);
  const headDim = Number(c.head_dim ?? Number(c.hidden_size) / heads);
  return {
    context_length: Number(c.max_position_embeddings),
    embedding_length: Number(c.hidden_size),
    block_count: Number(c.num_hidden_layers),
    feed_forward_length: Number(c.intermediate_size),
    'attention.head_count': heads,
    'attention.head_count_kv': Number(c.num_key_value_heads ?? heads),
    'attention.key_length': headDim,
    'attention.value_length': headDim,
    'attention.layer_norm_rms_epsilon': float(c.rms_norm_eps),
    'rope.freq_base': float(rope(c).rope_theta ?? c.rope_theta ?? 10_000),
    'rope.dimension_count': headDim,
    ...yarn(c),
  };
};

/** YaRN as llama.cpp's converter writes it; `rope_freqs` stands for Llama 3's. */
const yarn = (c: Config): Record<string, unknown> => {
  const scaling = { ...(c.rope_scaling as Config | null), ...rope(c) };
  if (scaling.rope_type !== 'yarn') return {};
  const optional = (name: string, value: unknown): Record<string, unknown> =>
    value === undefined ? {} : { [`rope.scaling.${name}`]: float(Number(value)) };
  const factor = Number(scaling.factor);
  return {
    'rope.scaling.type': 'yarn',
    'rope.scaling.factor': float(factor),
    'rope.scaling.original_context_length': Number(scaling.original_max_position_embeddings),
    ...optional('yarn_beta_fast', scaling.beta_fast),
    ...optional('yarn_beta_slow', scaling.beta_slow),
    ...(scaling.attention_factor === undefined
      ? {}
      : optional('attn_factor', Number(scaling.attention_factor) / (1 + 0.1 * Math.log(factor)))),
  };
};

/** LlamaModel.permute. */
const llamaPermute = (to: string, tensor: HostTensor, c: Config): HostTensor | undefined => {
  const heads = { 'blk.{}.attn_q': c.num_attention_heads, 'blk.{}.attn_k': c.num_key_value_heads };
  if (!Object.hasOwn(heads, to)) return undefined;
  const H = Number(heads[to as keyof typeof heads] ?? c.num_attention_heads);
  const half = tensor.shape[0] / H / 2;
  return permuted(tensor, [H, 2, half, width(tensor)], [0, 2, 1, 3]);
};

/** Queries, keys and values of each group apart: GPTNeoXModel, BloomModel and FalconModel. */
const ungroup = (heads: number, kvHeads: number, tensor: HostTensor): HostTensor => {
  const parts = heads / kvHeads + 2;
  const D = tensor.shape[0] / kvHeads / parts;
  const E = width(tensor);
  const grouped = [kvHeads, parts, D, E];
  const pick = (from: number, to: number): Float32Array => {
    const all = f32(tensor);
    const picked = Float32Array.from({ length: kvHeads * (to - from) * D * E }, (_, i) => {
      const [group, rest] = [Math.floor(i / ((to - from) * D * E)), i % ((to - from) * D * E)];
      return all[group * grouped[1] * D * E + from * D * E + rest];
    });
    return picked;
  };
  const into = hostTensor('f32', tensor.shape);
  const values = f32(into);
  let at = 0;
  for (const [from, to] of [
    [0, parts - 2],
    [parts - 2, parts - 1],
    [parts - 1, parts],
  ]) {
    values.set(pick(from, to), at);
    at += kvHeads * (to - from) * D * E;
  }
  return into;
};

const llama: Conversion = {
  name: 'llama',
  metadata: llamaMetadata,
  names: llamaNames('model.layers'),
  change: llamaPermute,
};

const gptNeoX: Conversion = {
  name: 'gptneox',
  metadata: (c) => ({
    context_length: Number(c.max_position_embeddings),
    embedding_length: Number(c.hidden_size),
    block_count: Number(c.num_hidden_layers),
    feed_forward_length: Number(c.intermediate_size),
    'rope.dimension_count':
      (Number(rope(c).partial_rotary_factor ?? c.rotary_pct) * Number(c.hidden_size)) /
      Number(c.num_attention_heads),
    'attention.head_count': Number(c.num_attention_heads),
    use_parallel_residual: c.use_parallel_residual !== false,
    'attention.layer_norm_epsilon': float(c.layer_norm_eps),
  }),
  names: {
    'gpt_neox.embed_in': 'token_embd',
    'gpt_neox.final_layer_norm': 'output_norm',
    embed_out: 'output',
    'gpt_neox.layers.{}.input_layernorm': 'blk.{}.attn_norm',
    'gpt_neox.layers.{}.attention.query_key_value': 'blk.{}.attn_qkv',
    'gpt_neox.layers.{}.attention.dense': 'blk.{}.attn_output',
    'gpt_neox.layers.{}.post_attention_layernorm': 'blk.{}.ffn_norm',
    'gpt_neox.layers.{}.mlp.dense_h_to_4h': 'blk.{}.ffn_up',
    'gpt_neox.layers.{}.mlp.dense_4h_to_h': 'blk.{}.ffn_down',
  },
  change: (to, tensor, c) =>
    to === 'blk.{}.attn_qkv'
      ? ungroup(Number(c.num_attention_heads), Number(c.num_attention_heads), tensor)
      : undefined,
};

const qwen2: Conversion = {
  name: 'qwen2',
  metadata: llamaMetadata,
  names: llamaNames('model.layers'),
};
const qwen3: Conversion = { ...qwen2, name: 'qwen3' };

const mistral: Conversion = {
  ...llama,
  metadata: (c) => ({
    ...llamaMetadata(c),
    ...(c.sliding_window ? { 'attention.sliding_window': Number(c.sliding_window) } : {}),
  }),
};

/** Of a block as BLOOM and Falcon name its parts. */
const transformerNames = {
  'transformer.word_embeddings': 'token_embd',
  'transformer.word_embeddings_layernorm': 'token_embd_norm',
  'transformer.ln_f': 'output_norm',
  'transformer.h.{}.input_layernorm': 'blk.{}.attn_norm',
  'transformer.h.{}.ln_mlp': 'blk.{}.attn_norm',
  'transformer.h.{}.ln_attn': 'blk.{}.attn_norm_2',
  'transformer.h.{}.post_attention_layernorm': 'blk.{}.ffn_norm',
  'transformer.h.{}.self_attention.query_key_value': 'blk.{}.attn_qkv',
  'transformer.h.{}.self_attention.dense': 'blk.{}.attn_output',
  'transformer.h.{}.mlp.dense_h_to_4h': 'blk.{}.ffn_up',
  'transformer.h.{}.mlp.dense_4h_to_h': 'blk.{}.ffn_down',
};

const bloom: Conversion = {
  name: 'bloom',
  metadata: (c) => ({
    context_length: Number(c.seq_length ?? 2048),
    embedding_length: Number(c.hidden_size ?? c.n_embed),
    feed_forward_length: 4 * Number(c.hidden_size ?? c.n_embed),
    block_count: Number(c.n_layer),
    'attention.head_count': Number(c.n_head),
    'attention.layer_norm_epsilon': float(c.layer_norm_epsilon),
  }),
  names: transformerNames,
  change: (to, tensor, c) =>
    to === 'blk.{}.attn_qkv' ? ungroup(Number(c.n_head), Number(c.n_head), tensor) : undefined,
};

const falconGroups = (c: Config): number =>
  c.new_decoder_architecture ? Number(c.num_kv_heads) : 1;

const falcon: Conversion = {
  name: 'falcon',
  metadata: (c) => ({
    context_length: Number(c.max_position_embeddings ?? 2048),
    embedding_length: Number(c.hidden_size),
    feed_forward_length: Number(c.ffn_hidden_size),
    block_count: Number(c.num_hidden_layers),
    'attention.head_count': Number(c.num_attention_heads),
    'attention.head_count_kv': falconGroups(c),
    'attention.layer_norm_epsilon': float(c.layer_norm_epsilon),
  }),
  names: transformerNames,
  change: (to, tensor, c) =>
    to === 'blk.{}.attn_qkv'
      ? ungroup(Number(c.num_attention_heads), falconGroups(c), tensor)
      : undefined,
};

const mpt: Conversion = {
  name: 'mpt',
  metadata: (c) => {
    const attention = c.attn_config as Config;
    return {
      context_length: Number(c.max_seq_len),
      embedding_length: Number(c.d_model),
      block_count: Number(c.n_layers),
      feed_forward_length: Number(c.expansion_ratio ?? 4) * Number(c.d_model),
      'attention.head_count': Number(c.n_heads),
      'attention.layer_norm_epsilon': float(1e-5),
      'attention.max_alibi_bias': float(attention.alibi_bias_max ?? 8),
      ...(attention.clip_qkv ? { 'attention.clamp_kqv': float(attention.clip_qkv) } : {}),
    };
  },
  names: {
    'transformer.wte': 'token_embd',
    'transformer.norm_f': 'output_norm',
    'transformer.blocks.{}.norm_1': 'blk.{}.attn_norm',
    'transformer.blocks.{}.norm_2': 'blk.{}.ffn_norm',
    'transformer.blocks.{}.attn.Wqkv': 'blk.{}.attn_qkv',
    'transformer.blocks.{}.attn.out_proj': 'blk.{}.attn_output',
    'transformer.blocks.{}.ffn.up_proj': 'blk.{}.ffn_up',
    'transformer.blocks.{}.ffn.down_proj': 'blk.{}.ffn_down',
  },
};

const gpt2: Conversion = {
  name: 'gpt2',
  metadata: (c) => ({
    block_count: Number(c.n_layer),
    context_length: Number(c.n_positions),
    embedding_length: Number(c.n_embd),
    feed_forward_length: Number(c.n_inner ?? 4 * Number(c.n_embd)),
    'attention.head_count': Number(c.n_head),
    'attention.layer_norm_epsilon': float(c.layer_norm_epsilon),
  }),
  names: {
    'transformer.wte': 'token_embd',
    'transformer.wpe': 'position_embd',
    'transformer.ln_f': 'output_norm',
    'transformer.h.{}.ln_1': 'blk.{}.attn_norm',
    'transformer.h.{}.ln_2': 'blk.{}.ffn_norm',
    'transformer.h.{}.attn.c_attn': 'blk.{}.attn_qkv',
    'transformer.h.{}.attn.c_proj': 'blk.{}.attn_output',
    'transformer.h.{}.mlp.c_fc': 'blk.{}.ffn_up',
    'transformer.h.{}.mlp.c_proj': 'blk.{}.ffn_down',
  },
  // GPT2Model.modify_tensors transposes every matrix of a block.
  change: (to, tensor) =>
    to.startsWith('blk.') && tensor.shape.length === 2
      ? permuted(tensor, tensor.shape, [1, 0], [...tensor.shape].reverse())
      : undefined,
};

/** By `model_type`. */
const conversions: Readonly<Record<string, Conversion>> = {
  ...{ bloom, falcon, gpt2, gpt_neox: gptNeoX, llama, mistral, mpt, qwen2, qwen3 },
};

/** LlamaModel.generate_extra_tensors: what Llama 3.1 divides its rotary frequencies by. */
function scalingFactors(c: Config) {
  const scaling = { ...(c.rope_scaling as Config | null), ...rope(c) };
  if (scaling.rope_type !== 'llama3') return undefined;
  const factor = Number(scaling.factor);
  const [low, high] = [Number(scaling.low_freq_factor), Number(scaling.high_freq_factor)];
  const original = Number(scaling.original_max_position_embeddings);
  const headDim = Number(c.head_dim ?? Number(c.hidden_size) / Number(c.num_attention_heads));
  const base = Number(scaling.rope_theta ?? c.rope_theta);
  const factors = Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * base ** ((2 * i) / headDim);
    if (wavelength < original / high) return 1;
    if (wavelength > original / low) return factor;
    const smooth = (original / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
  const bytes = new Uint8Array(factors.buffer);
  return [{ name: 'rope_freqs.weight', shape: [factors.length], type: 0, bytes }];
}

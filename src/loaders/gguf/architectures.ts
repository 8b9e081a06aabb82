import type { Metadata } from './metadata.ts';

/**
 * What a GGUF architecture is in Hugging Face's terms, in which families speak: its config.json, and the
 * names and the layout its tensors have there. Nothing else knows GGUF's.
 */
export interface Architecture {
  /** Value of `general.architecture`. */
  readonly name: string;
  /** config.json, but for what `commonConfig` says of every architecture. */
  readonly config: (m: Metadata, has: Has) => Readonly<Record<string, unknown>>;
  /** Hugging Face's name of a tensor by GGUF's, both without `.weight` or `.bias`; {} is the layer. */
  readonly names: (has: Has) => Readonly<Record<string, string>>;
  /** By GGUF's name: where the file has row i of Hugging Face's tensor. Absent: at i. */
  readonly rows?: (m: Metadata) => Readonly<Record<string, (i: number) => number>>;
  /** Matrices that Hugging Face stores as [inputs, outputs], and GGUF, as always, as [outputs, inputs]. */
  readonly transposed?: readonly string[];
}

/** Whether the file has a tensor of this name. */
export type Has = (tensor: string) => boolean;

/** Names of the Llama layout, which many share. */
const llamaNames = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
  'blk.{}.attn_norm': 'model.layers.{}.input_layernorm',
  'blk.{}.attn_q': 'model.layers.{}.self_attn.q_proj',
  'blk.{}.attn_k': 'model.layers.{}.self_attn.k_proj',
  'blk.{}.attn_v': 'model.layers.{}.self_attn.v_proj',
  'blk.{}.attn_output': 'model.layers.{}.self_attn.o_proj',
  'blk.{}.attn_q_norm': 'model.layers.{}.self_attn.q_norm',
  'blk.{}.attn_k_norm': 'model.layers.{}.self_attn.k_norm',
  'blk.{}.ffn_norm': 'model.layers.{}.post_attention_layernorm',
  'blk.{}.ffn_gate': 'model.layers.{}.mlp.gate_proj',
  'blk.{}.ffn_up': 'model.layers.{}.mlp.up_proj',
  'blk.{}.ffn_down': 'model.layers.{}.mlp.down_proj',
};

/** Widths, counts and rotary embedding as Llama's config.json has them. */
const llamaConfig = (m: Metadata): Record<string, unknown> => {
  const experts = m.whole('~.expert_count') ?? 0;
  if (experts > 0) throw m.failure(`has ${experts} experts`, 'one MLP in a block');
  return {
    ...commonConfig(m),
    max_position_embeddings: m.count('~.context_length'),
    intermediate_size: m.count('~.feed_forward_length'),
    num_key_value_heads: m.whole('~.attention.head_count_kv'),
    head_dim: m.whole('~.attention.key_length'),
    partial_rotary_factor: rotaryShare(m),
    rms_norm_eps: m.number('~.attention.layer_norm_rms_epsilon'),
    rope_theta: m.number('~.rope.freq_base'),
    rope_scaling: ropeScaling(m),
    sliding_window: m.whole('~.attention.sliding_window') || null,
  };
};

const commonConfig = (m: Metadata): Record<string, unknown> => ({
  hidden_size: m.count('~.embedding_length'),
  num_hidden_layers: m.count('~.block_count'),
  num_attention_heads: m.count('~.attention.head_count'),
});

/** `rope_freqs`, the other way of GGUF, is read by `llama3Scaling`. */
function ropeScaling(m: Metadata): Record<string, unknown> | null {
  const kind = m.text('~.rope.scaling.type') ?? 'none';
  if (kind === 'none') return null;
  const factor = m.number('~.rope.scaling.factor');
  const original = m.whole('~.rope.scaling.original_context_length');
  const attention = m.number('~.rope.scaling.attn_factor');
  const beta = (name: string) => m.number(`~.rope.scaling.yarn_${name}`);
  return {
    rope_type: kind,
    factor,
    original_max_position_embeddings: original,
    beta_fast: beta('beta_fast'),
    beta_slow: beta('beta_slow'),
    // llama.cpp multiplies what follows from the factor by it.
    attention_factor:
      attention === undefined ? undefined : attention * (1 + 0.1 * Math.log(factor ?? 1)),
  };
}

/**
 * GGUF's Llama has rows of queries and keys in the order of an interleaved rotary embedding: what
 * Hugging Face has as halves [2, D/2] of each head lies in the file as pairs [D/2, 2].
 */
const interleaved =
  (headDim: number) =>
  (row: number): number => {
    const within = row % headDim;
    const half = headDim / 2;
    return row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
  };

/**
 * Queries, keys and values of a tensor that Hugging Face has group by group, [G, H/G + 2, D], and the file
 * all queries first, then all keys, then all values.
 */
const ungrouped =
  (heads: number, kvHeads: number, headDim: number) =>
  (row: number): number => {
    const perGroup = heads / kvHeads;
    const head = Math.floor(row / headDim);
    const [group, within] = [Math.floor(head / (perGroup + 2)), head % (perGroup + 2)];
    const place =
      within < perGroup ? group * perGroup + within : heads + (within - perGroup) * kvHeads + group;
    return place * headDim + (row % headDim);
  };

const headDim = (m: Metadata): number =>
  m.whole('~.attention.key_length') ??
  m.count('~.embedding_length') / m.count('~.attention.head_count');

/** Share of each head that is rotated. */
const rotaryShare = (m: Metadata): number =>
  (m.whole('~.rope.dimension_count') ?? headDim(m)) / headDim(m);

/** Of queries, keys and values that lie together. */
const groupedRows = (m: Metadata): Record<string, (i: number) => number> => {
  const heads = m.count('~.attention.head_count');
  const kvHeads = m.whole('~.attention.head_count_kv') ?? heads;
  if (heads % kvHeads)
    throw m.failure(`has ${kvHeads} KV heads`, `a divisor of its ${heads} heads`);
  return { 'blk.{}.attn_qkv': ungrouped(heads, kvHeads, headDim(m)) };
};

const llama: Architecture = {
  name: 'llama',
  config: (m, has) => ({
    ...llamaConfig(m),
    // Mistral's files say llama.
    model_type: m.whole('~.attention.sliding_window') ? 'mistral' : 'llama',
    attention_bias: has('blk.0.attn_q.bias'),
    mlp_bias: has('blk.0.ffn_up.bias'),
  }),
  names: () => llamaNames,
  rows: (m) => {
    const order = interleaved(headDim(m));
    return { 'blk.{}.attn_q': order, 'blk.{}.attn_k': order };
  },
};

const qwen2: Architecture = {
  name: 'qwen2',
  config: (m) => ({ ...llamaConfig(m), model_type: 'qwen2' }),
  names: () => llamaNames,
};

const qwen3: Architecture = {
  name: 'qwen3',
  config: (m) => ({ ...llamaConfig(m), model_type: 'qwen3' }),
  names: () => llamaNames,
};

const gptNeoX: Architecture = {
  name: 'gptneox',
  config: (m) => ({
    ...commonConfig(m),
    model_type: 'gpt_neox',
    max_position_embeddings: m.count('~.context_length'),
    intermediate_size: m.count('~.feed_forward_length'),
    hidden_act: 'gelu',
    layer_norm_eps: m.number('~.attention.layer_norm_epsilon'),
    use_parallel_residual: m.flag('~.use_parallel_residual'),
    rotary_pct: rotaryShare(m),
    rotary_emb_base: m.number('~.rope.freq_base'),
    rope_scaling: ropeScaling(m),
  }),
  names: () => ({
    token_embd: 'gpt_neox.embed_in',
    output_norm: 'gpt_neox.final_layer_norm',
    output: 'embed_out',
    'blk.{}.attn_norm': 'gpt_neox.layers.{}.input_layernorm',
    'blk.{}.attn_qkv': 'gpt_neox.layers.{}.attention.query_key_value',
    'blk.{}.attn_output': 'gpt_neox.layers.{}.attention.dense',
    'blk.{}.ffn_norm': 'gpt_neox.layers.{}.post_attention_layernorm',
    'blk.{}.ffn_up': 'gpt_neox.layers.{}.mlp.dense_h_to_4h',
    'blk.{}.ffn_down': 'gpt_neox.layers.{}.mlp.dense_4h_to_h',
  }),
  rows: groupedRows,
};

const falcon: Architecture = {
  name: 'falcon',
  config: (m, has) => {
    const heads = m.count('~.attention.head_count');
    const kvHeads = m.whole('~.attention.head_count_kv') ?? heads;
    return {
      ...commonConfig(m),
      model_type: 'falcon',
      max_position_embeddings: m.count('~.context_length'),
      ffn_hidden_size: m.whole('~.feed_forward_length'),
      layer_norm_epsilon: m.number('~.attention.layer_norm_epsilon'),
      rope_theta: m.number('~.rope.freq_base'),
      num_kv_heads: kvHeads,
      multi_query: kvHeads === 1 || has('blk.0.attn_norm_2.weight'),
      new_decoder_architecture: kvHeads !== 1,
      num_ln_in_parallel_attn: has('blk.0.attn_norm_2.weight') ? 2 : kvHeads === 1 ? undefined : 1,
      parallel_attn: true,
      alibi: false,
      bias: has('blk.0.attn_qkv.bias'),
    };
  },
  names: (has) => ({
    token_embd: 'transformer.word_embeddings',
    output_norm: 'transformer.ln_f',
    output: 'lm_head',
    'blk.{}.attn_norm': has('blk.0.attn_norm_2.weight')
      ? 'transformer.h.{}.ln_mlp'
      : 'transformer.h.{}.input_layernorm',
    'blk.{}.attn_norm_2': 'transformer.h.{}.ln_attn',
    'blk.{}.attn_qkv': 'transformer.h.{}.self_attention.query_key_value',
    'blk.{}.attn_output': 'transformer.h.{}.self_attention.dense',
    'blk.{}.ffn_up': 'transformer.h.{}.mlp.dense_h_to_4h',
    'blk.{}.ffn_down': 'transformer.h.{}.mlp.dense_4h_to_h',
  }),
  rows: groupedRows,
};

const bloom: Architecture = {
  name: 'bloom',
  config: (m) => ({
    model_type: 'bloom',
    hidden_size: m.count('~.embedding_length'),
    n_layer: m.count('~.block_count'),
    n_head: m.count('~.attention.head_count'),
    seq_length: m.whole('~.context_length'),
    layer_norm_epsilon: m.number('~.attention.layer_norm_epsilon'),
  }),
  names: () => ({
    token_embd: 'transformer.word_embeddings',
    token_embd_norm: 'transformer.word_embeddings_layernorm',
    output_norm: 'transformer.ln_f',
    output: 'lm_head',
    'blk.{}.attn_norm': 'transformer.h.{}.input_layernorm',
    'blk.{}.attn_qkv': 'transformer.h.{}.self_attention.query_key_value',
    'blk.{}.attn_output': 'transformer.h.{}.self_attention.dense',
    'blk.{}.ffn_norm': 'transformer.h.{}.post_attention_layernorm',
    'blk.{}.ffn_up': 'transformer.h.{}.mlp.dense_h_to_4h',
    'blk.{}.ffn_down': 'transformer.h.{}.mlp.dense_4h_to_h',
  }),
  rows: groupedRows,
};

const mpt: Architecture = {
  name: 'mpt',
  config: (m, has) => ({
    model_type: 'mpt',
    d_model: m.count('~.embedding_length'),
    n_layers: m.count('~.block_count'),
    n_heads: m.count('~.attention.head_count'),
    max_seq_len: m.count('~.context_length'),
    expansion_ratio: m.count('~.feed_forward_length') / m.count('~.embedding_length'),
    layer_norm_epsilon: m.number('~.attention.layer_norm_epsilon'),
    no_bias: !has('blk.0.attn_qkv.bias'),
    learned_pos_emb: has('position_embd.weight'),
    attn_config: {
      alibi: (m.number('~.attention.max_alibi_bias') ?? 0) > 0,
      alibi_bias_max: m.number('~.attention.max_alibi_bias') || undefined,
      clip_qkv: m.number('~.attention.clamp_kqv') || null,
      qk_ln: has('blk.0.attn_q_norm.weight'),
    },
  }),
  names: () => ({
    token_embd: 'transformer.wte',
    position_embd: 'transformer.wpe',
    output_norm: 'transformer.norm_f',
    output: 'lm_head',
    'blk.{}.attn_norm': 'transformer.blocks.{}.norm_1',
    'blk.{}.attn_qkv': 'transformer.blocks.{}.attn.Wqkv',
    'blk.{}.attn_output': 'transformer.blocks.{}.attn.out_proj',
    'blk.{}.ffn_norm': 'transformer.blocks.{}.norm_2',
    'blk.{}.ffn_up': 'transformer.blocks.{}.ffn.up_proj',
    'blk.{}.ffn_down': 'transformer.blocks.{}.ffn.down_proj',
  }),
};

const gpt2: Architecture = {
  name: 'gpt2',
  config: (m) => ({
    model_type: 'gpt2',
    n_embd: m.count('~.embedding_length'),
    n_layer: m.count('~.block_count'),
    n_head: m.count('~.attention.head_count'),
    n_positions: m.count('~.context_length'),
    n_inner: m.whole('~.feed_forward_length'),
    layer_norm_epsilon: m.number('~.attention.layer_norm_epsilon'),
    activation_function: 'gelu_new',
  }),
  names: () => ({
    token_embd: 'transformer.wte',
    position_embd: 'transformer.wpe',
    output_norm: 'transformer.ln_f',
    output: 'lm_head',
    'blk.{}.attn_norm': 'transformer.h.{}.ln_1',
    'blk.{}.attn_qkv': 'transformer.h.{}.attn.c_attn',
    'blk.{}.attn_output': 'transformer.h.{}.attn.c_proj',
    'blk.{}.ffn_norm': 'transformer.h.{}.ln_2',
    'blk.{}.ffn_up': 'transformer.h.{}.mlp.c_fc',
    'blk.{}.ffn_down': 'transformer.h.{}.mlp.c_proj',
  }),
  transposed: ['blk.{}.attn_qkv', 'blk.{}.attn_output', 'blk.{}.ffn_up', 'blk.{}.ffn_down'],
};

/** Every architecture that is translated. */
export const architectures: readonly Architecture[] = [
  bloom,
  falcon,
  gpt2,
  gptNeoX,
  llama,
  mpt,
  qwen2,
  qwen3,
];

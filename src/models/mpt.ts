import * as z from 'zod/mini';
import type { Family } from '../model.ts';
import { embed } from '../ops/embed.ts';
import type { Tensor } from '../tensor.ts';
import { alibiSlopes, slopesName, slopesOf } from './parts/alibi.ts';
import { attentionBlock } from './parts/attention.ts';
import { count, endIds, flag, headSize, layerCount, parseConfig, positive, refuse } from './parts/config.ts';
import { embeddingName, logitsOf } from './parts/head.ts';
import { mlp } from './parts/mlp.ts';
import { namedNorm } from './parts/norm.ts';
import { WeightList } from './parts/weights.ts';

const attentionSchema = z.object({
  attn_type: z.optional(z.literal('multihead_attention')),
  alibi: z.optional(z.literal(true, 'only ALiBi tells positions apart here')),
  alibi_bias_max: z._default(positive, 8),
  clip_qkv: z.nullish(z.number().check(z.minimum(0))),
  qk_ln: flag(false),
  softmax_scale: z.nullish(positive),
  prefix_lm: z.optional(z.literal(false, 'a prefix that sees itself whole is not computed')),
  attn_uses_sequence_id: z.optional(z.literal(false, 'texts side by side are not computed')),
  rope: z.optional(z.literal(false, 'rotary embedding is not computed in this family')),
  sliding_window_size: z.optional(z.literal(-1, 'attention in windows is not computed here')),
});

const schema = z.object({
  d_model: count,
  expansion_ratio: z._default(positive, 4),
  n_layers: layerCount,
  n_heads: count,
  vocab_size: count,
  max_seq_len: z._default(count, 2048),
  layer_norm_epsilon: z._default(positive, 1e-5),
  norm_type: z.optional(z.enum(['low_precision_layernorm', 'layernorm'])),
  no_bias: flag(true),
  logit_scale: z.optional(z.null('logits are not scaled')),
  attn_config: z.pipe(z.nullish(attentionSchema), z.transform((given) => given ?? attentionSchema.parse({}))),
  ffn_config: z.nullish(z.object({ ffn_type: z.optional(z.literal('mptmlp')) })),
  tie_word_embeddings: flag(true),
  eos_token_id: endIds,
});

type Config = ReturnType<typeof readConfig>;

function readConfig(json: unknown) {
  const { attn_config: attention, ...config } = parseConfig(schema, json);
  const neurons = count.safeParse(config.expansion_ratio * config.d_model);
  if (!neurons.success)
    refuse(`expansion_ratio is ${config.expansion_ratio}`, 'a whole number of neurons');
  return {
    ...config,
    attention,
    neurons: neurons.data,
    headDim: headSize(config.d_model, config.n_heads, ['d_model', 'n_heads']),
  };
}

/** MPT's MLP has the exact form of GELU. */
const activation = 'gelu';

/**
 * MPT (MosaicML 2023): ALiBi, no biases unless `no_bias` is unset. Queries and keys may be clipped and
 * normed, all heads together, as llm-foundry does; transformers reads over `qk_ln` and `alibi_bias_max`.
 */
export const mpt: Family<Config> = {
  name: 'mpt',
  summary: 'MPT: ALiBi; queries, keys and values clipped, queries and keys normed, if configured',
  modelTypes: ['mpt'],
  config: readConfig,

  describe: (c) => ({
    family: 'mpt',
    layers: c.n_layers,
    heads: c.n_heads,
    kvHeads: c.n_heads,
    headDim: c.headDim,
    hiddenSize: c.d_model,
    neurons: c.neurons,
    vocabulary: c.vocab_size,
    context: c.max_seq_len,
    positions: 'alibi',
    activation,
    gated: false,
    endIds: c.eos_token_id,
  }),

  weights(c) {
    const { d_model: E, neurons: F, n_heads: heads, headDim } = c;
    const bias = c.no_bias ? false : 'optional';
    const list = new WeightList(['transformer']);
    list.embedding('wte', c.tie_word_embeddings ? undefined : 'lm_head', [c.vocab_size, E]);
    list.norm('finalNorm', 'norm_f', E, bias);
    for (let i = 0; i < c.n_layers; i++) {
      const [block, from] = [`layers.${i}`, `blocks.${i}`];
      const attention = `${block}.attention`;
      list.norm(`${block}.attentionNorm`, `${from}.norm_1`, E, bias);
      list.norm(`${block}.mlpNorm`, `${from}.norm_2`, E, bias);
      list.fused(attention, `${from}.attn.Wqkv`, E, bias, {
        heads,
        kvHeads: heads,
        headDim,
        by: 'kinds',
      });
      if (c.attention.qk_ln) {
        list.norm(`${attention}.qNorm`, `${from}.attn.q_ln`, E, bias);
        list.norm(`${attention}.kNorm`, `${from}.attn.k_ln`, E, bias);
      }
      list.outward(`${attention}.oProj`, `${from}.attn.out_proj`, [E, E], bias);
      list.inward(`${block}.mlp.upProj`, `${from}.ffn.up_proj`, [F, E], bias);
      list.outward(`${block}.mlp.downProj`, `${from}.ffn.down_proj`, [F, E], bias);
    }
    return list.specs;
  },

  constants: (c) => ({ [slopesName]: alibiSlopes(c.n_heads, c.attention.alibi_bias_max) }),

  forward(g, c, weights, step) {
    const eps = c.layer_norm_epsilon;
    const normed = (name: string, x: Tensor): Tensor => namedNorm(g, weights, name, x, { eps });
    const { clip_qkv, softmax_scale, qk_ln } = c.attention;
    const slopes = slopesOf(weights);
    let x = embed(g, { table: weights.get(embeddingName), ids: step.tokens });
    const hidden = [x];
    for (let layer = 0; layer < c.n_layers; layer++) {
      const block = `layers.${layer}`;
      x = attentionBlock(g, weights, step.cache, step.sparsity, {
        prefix: `${block}.attention`,
        layer,
        x: normed(`${block}.attentionNorm`, x),
        add: x,
        heads: c.n_heads,
        headDim: c.headDim,
        rotation: undefined,
        slopes,
        scale: softmax_scale ?? undefined,
        clip: clip_qkv || undefined,
        ...(qk_ln && { qkNorm: { eps, rms: false, of: 'all heads' } }),
      });
      x = mlp(g, weights, step.sparsity, {
        prefix: `${block}.mlp`,
        layer,
        x: normed(`${block}.mlpNorm`, x),
        add: x,
        activation,
        gated: false,
      });
      hidden.push(x);
    }
    x = normed('finalNorm', x);
    hidden[c.n_layers] = x;
    return { hidden, logits: logitsOf(g, weights, x, step) };
  },
};

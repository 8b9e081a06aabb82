import * as z from 'zod/mini';
import type { Family } from '../model.ts';
import { embed } from '../ops/embed.ts';
import type { Tensor } from '../tensor.ts';
import { alibiSlopes, slopesName, slopesOf } from './parts/alibi.ts';
import { attentionBlock } from './parts/attention.ts';
import { activation, count, endIds, flag, headSize, layerCount, parseConfig, positive, refuse } from './parts/config.ts';
import { embeddingName, logitsOf } from './parts/head.ts';
import { mlp } from './parts/mlp.ts';
import { namedNorm } from './parts/norm.ts';
import {
  frequenciesName,
  readRope,
  ropeFields,
  ropeFrequencies,
  rotatedSize,
  rotationOf,
} from './parts/rope.ts';
import { WeightList } from './parts/weights.ts';

const schema = z.object({
  ...ropeFields,
  hidden_size: count,
  ffn_hidden_size: z.nullish(count),
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  num_kv_heads: z.nullish(count),
  vocab_size: count,
  max_position_embeddings: z._default(count, 2048),
  activation: z._default(activation, 'gelu'),
  layer_norm_epsilon: z._default(positive, 1e-5),
  alibi: flag(false),
  attn_implementation: z.nullish(z.string()),
  bias: flag(false),
  multi_query: flag(true),
  parallel_attn: flag(true),
  new_decoder_architecture: flag(false),
  num_ln_in_parallel_attn: z.nullish(z.int().check(z.minimum(1), z.maximum(2))),
  tie_word_embeddings: flag(true),
  eos_token_id: endIds,
});

type Config = ReturnType<typeof readConfig>;

function readConfig(json: unknown) {
  const config = parseConfig(schema, json);
  const { num_attention_heads: heads, new_decoder_architecture: newer } = config;
  const headDim = headSize(config.hidden_size, heads);
  const norms = config.num_ln_in_parallel_attn ?? (newer ? 2 : 1);
  if (norms === 2 && !newer)
    refuse('num_ln_in_parallel_attn is 2', '1 unless new_decoder_architecture is set');
  const kvHeads = newer || !config.multi_query ? (config.num_kv_heads ?? heads) : 1;
  if (heads % kvHeads) refuse(`num_kv_heads is ${kvHeads}`, `a divisor of ${heads} heads`);
  if (!newer && !config.multi_query && kvHeads !== heads)
    refuse(`num_kv_heads is ${kvHeads}`, `${heads} unless multi_query or new_decoder_architecture`);
  const rope = readRope(config, { theta: 10_000, share: 1 });
  if (!config.alibi && rotatedSize(rope, headDim) !== headDim)
    refuse(`partial_rotary_factor is ${rope.share}`, '1 in this family');
  return {
    ...config,
    headDim,
    kvHeads,
    rope,
    neurons: config.ffn_hidden_size ?? 4 * config.hidden_size,
    parallel: newer || config.parallel_attn,
    /** Attention and a parallel MLP have norms of their own. */
    twoNorms: norms === 2,
  };
}

/**
 * Falcon (arXiv 2311.16867): 7B shares one key and value among all heads, 40B and 180B ("new decoder
 * architecture") share them in groups; both compute attention and MLP side by side. The RW models are
 * sequential, with ALiBi and biases.
 */
export const falcon: Family<Config> = {
  name: 'falcon',
  summary: 'Falcon 7B, 40B, 180B and RW: one key for all heads or for groups, attention and MLP side by side; RW: ALiBi',
  modelTypes: ['falcon'],
  config: readConfig,

  describe: (c) => ({
    family: 'falcon',
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    kvHeads: c.kvHeads,
    headDim: c.headDim,
    hiddenSize: c.hidden_size,
    neurons: c.neurons,
    vocabulary: c.vocab_size,
    context: c.max_position_embeddings,
    positions: c.alibi ? 'alibi' : 'rotary',
    activation: c.activation,
    gated: false,
    endIds: c.eos_token_id,
  }),

  weights(c) {
    const { hidden_size: E, neurons: F, bias } = c;
    const list = new WeightList(['transformer']);
    list.embedding('word_embeddings', c.tie_word_embeddings ? undefined : 'lm_head', [
      c.vocab_size,
      E,
    ]);
    list.norm('finalNorm', 'ln_f', E);
    for (let i = 0; i < c.num_hidden_layers; i++) {
      const [block, from] = [`layers.${i}`, `h.${i}`];
      list.norm(`${block}.attentionNorm`, `${from}.${c.twoNorms ? 'ln_attn' : 'input_layernorm'}`, E);
      if (c.twoNorms) list.norm(`${block}.mlpNorm`, `${from}.ln_mlp`, E);
      else if (!c.parallel) list.norm(`${block}.mlpNorm`, `${from}.post_attention_layernorm`, E);
      list.fused(`${block}.attention`, `${from}.self_attention.query_key_value`, E, bias, {
        heads: c.num_attention_heads,
        kvHeads: c.kvHeads,
        headDim: c.headDim,
        by: 'groups',
      });
      list.outward(`${block}.attention.oProj`, `${from}.self_attention.dense`, [E, E], bias);
      list.inward(`${block}.mlp.upProj`, `${from}.mlp.dense_h_to_4h`, [F, E], bias);
      list.outward(`${block}.mlp.downProj`, `${from}.mlp.dense_4h_to_h`, [F, E], bias);
    }
    return list.specs;
  },

  constants: (c): Record<string, Float32Array> =>
    c.alibi
      ? { [slopesName]: alibiSlopes(c.num_attention_heads).map((s) => s * nearnessScale(c)) }
      : { [frequenciesName]: ropeFrequencies(c.rope, c.headDim) },

  forward(g, c, weights, step) {
    const normed = (name: string, x: Tensor): Tensor =>
      namedNorm(g, weights, name, x, { eps: c.layer_norm_epsilon });
    const places = c.alibi
      ? { rotation: undefined, slopes: slopesOf(weights) }
      : { rotation: rotationOf(weights, c.rope, c.headDim) };
    let x = embed(g, { table: weights.get(embeddingName), ids: step.tokens });
    const hidden = [x];
    for (let layer = 0; layer < c.num_hidden_layers; layer++) {
      const block = `layers.${layer}`;
      const input = normed(`${block}.attentionNorm`, x);
      const attended = attentionBlock(g, weights, step.cache, step.sparsity, {
        prefix: `${block}.attention`,
        layer,
        x: input,
        add: x,
        heads: c.num_attention_heads,
        headDim: c.headDim,
        ...places,
      });
      const mlpInput = (): Tensor => {
        if (c.parallel && !c.twoNorms) return input;
        return normed(`${block}.mlpNorm`, c.parallel ? x : attended);
      };
      x = mlp(g, weights, step.sparsity, {
        prefix: `${block}.mlp`,
        layer,
        x: mlpInput(),
        add: attended,
        activation: c.activation,
        gated: false,
      });
      hidden.push(x);
    }
    x = normed('finalNorm', x);
    hidden[c.num_hidden_layers] = x;
    return { hidden, logits: logitsOf(g, weights, x, step) };
  },
};

/**
 * ALiBi's biases are scaled with the logits they are added to. transformers' eager attention, which
 * reference outputs come from, adds them to the mask and to the logits, so twice; its fused attention, and
 * the code that these models were published with, once: `"attn_implementation": "sdpa"`.
 */
const nearnessScale = (c: Config): number =>
  (c.attn_implementation === 'sdpa' ? 1 : 2) / Math.sqrt(c.headDim);

import * as z from 'zod/mini';
import type { Family } from '../model.ts';
import { add } from '../ops/elementwise.ts';
import { embed } from '../ops/embed.ts';
import { norm } from '../ops/norm.ts';
import type { Tensor } from '../tensor.ts';
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
  intermediate_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  num_key_value_heads: z.nullish(count),
  head_dim: z.nullish(count),
  vocab_size: count,
  max_position_embeddings: count,
  hidden_act: z._default(activation, 'relu2'),
  norm_eps: z._default(positive, 1e-5),
  attention_bias: flag(false),
  mlp_bias: flag(false),
  tie_word_embeddings: flag(false),
  eos_token_id: endIds,
});

type Config = ReturnType<typeof readConfig>;

function readConfig(json: unknown) {
  const config = parseConfig(schema, json);
  const heads = config.num_attention_heads;
  const kvHeads = config.num_key_value_heads ?? heads;
  if (heads % kvHeads) refuse(`num_key_value_heads is ${kvHeads}`, `a divisor of ${heads} heads`);
  const headDim = config.head_dim ?? headSize(config.hidden_size, heads);
  const rope = readRope(config, { theta: 10_000, share: 0.5 });
  rotatedSize(rope, headDim);
  return { ...config, kvHeads, headDim, rope };
}

/** Nemotron, Minitron (arXiv 2402.16819): squared ReLU, partial rotary, norms whose gain is stored less one. */
export const nemotron: Family<Config> = {
  name: 'nemotron',
  summary: 'Nemotron, Minitron: squared ReLU, partial rotary, grouped queries, norms whose gain is stored less one',
  modelTypes: ['nemotron'],
  config: readConfig,

  describe: (c) => ({
    family: 'nemotron',
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    kvHeads: c.kvHeads,
    headDim: c.headDim,
    hiddenSize: c.hidden_size,
    neurons: c.intermediate_size,
    vocabulary: c.vocab_size,
    context: c.max_position_embeddings,
    positions: 'rotary',
    activation: c.hidden_act,
    gated: false,
    endIds: c.eos_token_id,
  }),

  weights(c) {
    const { hidden_size: E, intermediate_size: F, headDim: D, attention_bias: bias } = c;
    const [queries, keys] = [c.num_attention_heads * D, c.kvHeads * D];
    const list = new WeightList(['model']);
    list.embedding('embed_tokens', c.tie_word_embeddings ? undefined : 'lm_head', [c.vocab_size, E]);
    list.norm('finalNorm', 'norm', E);
    for (let i = 0; i < c.num_hidden_layers; i++) {
      const block = `layers.${i}`;
      const [attention, from, plain] = [`${block}.attention`, `${block}.self_attn`, `${block}.mlp`];
      list.norm(`${block}.attentionNorm`, `${block}.input_layernorm`, E);
      list.norm(`${block}.mlpNorm`, `${block}.post_attention_layernorm`, E);
      list.inward(`${attention}.qProj`, `${from}.q_proj`, [queries, E], bias);
      list.inward(`${attention}.kProj`, `${from}.k_proj`, [keys, E], bias);
      list.inward(`${attention}.vProj`, `${from}.v_proj`, [keys, E], bias);
      list.outward(`${attention}.oProj`, `${from}.o_proj`, [queries, E], bias);
      list.inward(`${plain}.upProj`, `${plain}.up_proj`, [F, E], c.mlp_bias);
      list.outward(`${plain}.downProj`, `${plain}.down_proj`, [F, E], c.mlp_bias);
    }
    return list.specs;
  },

  constants: (c) => ({ [frequenciesName]: ropeFrequencies(c.rope, c.headDim) }),

  forward(g, c, weights, step) {
    const eps = c.norm_eps;
    // (1 + gain) · n + bias, where n is x normed: what is stored, and n once more.
    const normed = (name: string, x: Tensor): Tensor =>
      add(g, namedNorm(g, weights, name, x, { eps }), norm(g, x, { eps }));
    const rotation = rotationOf(weights, c.rope, c.headDim);
    let x = embed(g, { table: weights.get(embeddingName), ids: step.tokens });
    const hidden = [x];
    for (let layer = 0; layer < c.num_hidden_layers; layer++) {
      const block = `layers.${layer}`;
      x = attentionBlock(g, weights, step.cache, step.sparsity, {
        prefix: `${block}.attention`,
        layer,
        x: normed(`${block}.attentionNorm`, x),
        add: x,
        heads: c.num_attention_heads,
        headDim: c.headDim,
        rotation,
      });
      x = mlp(g, weights, step.sparsity, {
        prefix: `${block}.mlp`,
        layer,
        x: normed(`${block}.mlpNorm`, x),
        add: x,
        activation: c.hidden_act,
        gated: false,
      });
      hidden.push(x);
    }
    x = normed('finalNorm', x);
    hidden[c.num_hidden_layers] = x;
    return { hidden, logits: logitsOf(g, weights, x, step) };
  },
};

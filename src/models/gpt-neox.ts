import * as z from 'zod/mini';
import type { Family } from '../model.ts';
import { embed } from '../ops/embed.ts';
import { attentionBlock } from './parts/attention.ts';
import { activation, count, endIds, flag, headSize, layerCount, parseConfig, positive } from './parts/config.ts';
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
  vocab_size: count,
  max_position_embeddings: count,
  hidden_act: z._default(activation, 'gelu'),
  layer_norm_eps: z._default(positive, 1e-5),
  use_parallel_residual: flag(true),
  attention_bias: flag(true),
  tie_word_embeddings: flag(false),
  eos_token_id: endIds,
});

type Config = ReturnType<typeof readConfig>;

function readConfig(json: unknown) {
  const config = parseConfig(schema, json);
  const rope = readRope(config, { theta: 10_000, share: 0.25 });
  const headDim = headSize(config.hidden_size, config.num_attention_heads);
  rotatedSize(rope, headDim);
  return { ...config, headDim, rope };
}

/** GPT-NeoX (arXiv 2204.06745) and Pythia: partial rotary, parallel or sequential residual. */
export const gptNeoX: Family<Config> = {
  name: 'gpt_neox',
  summary: 'GPT-NeoX, Pythia: partial rotary; attention and MLP side by side, or not',
  modelTypes: ['gpt_neox'],
  config: readConfig,

  describe: (c) => ({
    family: 'gpt_neox',
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    kvHeads: c.num_attention_heads,
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
    const { hidden_size: E, intermediate_size: F, attention_bias: bias } = c;
    const list = new WeightList(['gpt_neox']);
    list.embedding('embed_in', c.tie_word_embeddings ? undefined : 'embed_out', [c.vocab_size, E]);
    list.norm('finalNorm', 'final_layer_norm', E);
    for (let i = 0; i < c.num_hidden_layers; i++) {
      const block = `layers.${i}`;
      const [attention, plain] = [`${block}.attention`, `${block}.mlp`];
      list.norm(`${block}.attentionNorm`, `${block}.input_layernorm`, E);
      list.norm(`${block}.mlpNorm`, `${block}.post_attention_layernorm`, E);
      list.fused(attention, `${attention}.query_key_value`, E, bias, {
        heads: c.num_attention_heads,
        kvHeads: c.num_attention_heads,
        headDim: c.headDim,
        by: 'groups',
      });
      list.outward(`${attention}.oProj`, `${attention}.dense`, [E, E], bias);
      list.inward(`${plain}.upProj`, `${plain}.dense_h_to_4h`, [F, E], true);
      list.outward(`${plain}.downProj`, `${plain}.dense_4h_to_h`, [F, E], true);
    }
    return list.specs;
  },

  constants: (c) => ({ [frequenciesName]: ropeFrequencies(c.rope, c.headDim) }),

  forward(g, c, weights, step) {
    const eps = c.layer_norm_eps;
    const rotation = rotationOf(weights, c.rope, c.headDim);
    let x = embed(g, { table: weights.get(embeddingName), ids: step.tokens });
    const hidden = [x];
    for (let layer = 0; layer < c.num_hidden_layers; layer++) {
      const block = `layers.${layer}`;
      const attended = attentionBlock(g, weights, step.cache, step.sparsity, {
        prefix: `${block}.attention`,
        layer,
        x: namedNorm(g, weights, `${block}.attentionNorm`, x, { eps }),
        add: x,
        heads: c.num_attention_heads,
        headDim: c.headDim,
        rotation,
      });
      const input = c.use_parallel_residual ? x : attended;
      x = mlp(g, weights, step.sparsity, {
        prefix: `${block}.mlp`,
        layer,
        x: namedNorm(g, weights, `${block}.mlpNorm`, input, { eps }),
        add: attended,
        activation: c.hidden_act,
        gated: false,
      });
      hidden.push(x);
    }
    x = namedNorm(g, weights, 'finalNorm', x, { eps });
    hidden[c.num_hidden_layers] = x;
    return { hidden, logits: logitsOf(g, weights, x, step) };
  },
};

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

/** Sizes have the names of transformers, or those of the first published checkpoints. */
const schema = z.object({
  hidden_size: z.optional(count),
  n_embed: z.optional(count),
  n_layer: z.optional(layerCount),
  num_hidden_layers: z.optional(layerCount),
  n_head: z.optional(count),
  num_attention_heads: z.optional(count),
  n_inner: z.optional(z.null('the MLP is four times as wide as the hidden state')),
  vocab_size: count,
  seq_length: z._default(count, 2048),
  layer_norm_epsilon: z._default(positive, 1e-5),
  apply_residual_connection_post_layernorm: flag(false),
  tie_word_embeddings: flag(true),
  eos_token_id: endIds,
});

type Config = ReturnType<typeof readConfig>;

function readConfig(json: unknown) {
  const config = parseConfig(schema, json);
  const width = config.n_embed ?? config.hidden_size ?? refuse('it has no hidden_size', 'one');
  const layers = config.n_layer ?? config.num_hidden_layers ?? refuse('it has no n_layer', 'one');
  const heads = config.n_head ?? config.num_attention_heads ?? refuse('it has no n_head', 'one');
  return { ...config, width, layers, heads, headDim: headSize(width, heads, ['hidden_size', 'n_head']) };
}

/** What every model of the family has, whatever its configuration says: the tanh form of GELU. */
const activation = 'geluTanh';

/** BLOOM (arXiv 2211.05100): ALiBi, and a norm after the embedding. */
export const bloom: Family<Config> = {
  name: 'bloom',
  summary: 'BLOOM: ALiBi, a norm after the embedding',
  modelTypes: ['bloom'],
  config: readConfig,

  describe: (c) => ({
    family: 'bloom',
    layers: c.layers,
    heads: c.heads,
    kvHeads: c.heads,
    headDim: c.headDim,
    hiddenSize: c.width,
    neurons: 4 * c.width,
    vocabulary: c.vocab_size,
    context: c.seq_length,
    positions: 'alibi',
    activation,
    gated: false,
    endIds: c.eos_token_id,
  }),

  weights(c) {
    const { width: E, heads, headDim } = c;
    const F = 4 * E;
    const list = new WeightList(['transformer']);
    list.embedding('word_embeddings', c.tie_word_embeddings ? undefined : 'lm_head', [
      c.vocab_size,
      E,
    ]);
    list.norm('embeddingNorm', 'word_embeddings_layernorm', E);
    list.norm('finalNorm', 'ln_f', E);
    for (let i = 0; i < c.layers; i++) {
      const [block, from] = [`layers.${i}`, `h.${i}`];
      list.norm(`${block}.attentionNorm`, `${from}.input_layernorm`, E);
      list.norm(`${block}.mlpNorm`, `${from}.post_attention_layernorm`, E);
      list.fused(`${block}.attention`, `${from}.self_attention.query_key_value`, E, true, {
        heads,
        kvHeads: heads,
        headDim,
        by: 'groups',
      });
      list.outward(`${block}.attention.oProj`, `${from}.self_attention.dense`, [E, E], true);
      list.inward(`${block}.mlp.upProj`, `${from}.mlp.dense_h_to_4h`, [F, E], true);
      list.outward(`${block}.mlp.downProj`, `${from}.mlp.dense_4h_to_h`, [F, E], true);
    }
    return list.specs;
  },

  constants: (c) => ({ [slopesName]: alibiSlopes(c.heads) }),

  forward(g, c, weights, step) {
    const normed = (name: string, x: Tensor): Tensor =>
      namedNorm(g, weights, name, x, { eps: c.layer_norm_epsilon });
    const slopes = slopesOf(weights);
    const words = embed(g, { table: weights.get(embeddingName), ids: step.tokens });
    let x = normed('embeddingNorm', words);
    const hidden = [x];
    /** What a half of a block adds its output to. */
    const residual = (before: Tensor, after: Tensor): Tensor =>
      c.apply_residual_connection_post_layernorm ? after : before;
    for (let layer = 0; layer < c.layers; layer++) {
      const block = `layers.${layer}`;
      const input = normed(`${block}.attentionNorm`, x);
      const attended = attentionBlock(g, weights, step.cache, step.sparsity, {
        prefix: `${block}.attention`,
        layer,
        x: input,
        add: residual(x, input),
        heads: c.heads,
        headDim: c.headDim,
        rotation: undefined,
        slopes,
      });
      const between = normed(`${block}.mlpNorm`, attended);
      x = mlp(g, weights, step.sparsity, {
        prefix: `${block}.mlp`,
        layer,
        x: between,
        add: residual(attended, between),
        activation,
        gated: false,
      });
      hidden.push(x);
    }
    x = normed('finalNorm', x);
    hidden[c.layers] = x;
    return { hidden, logits: logitsOf(g, weights, x, step) };
  },
};

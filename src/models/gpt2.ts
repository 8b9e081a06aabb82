import * as z from 'zod/mini';
import type { Family } from '../model.ts';
import { embed } from '../ops/embed.ts';
import type { Tensor } from '../tensor.ts';
import { attentionBlock } from './parts/attention.ts';
import { activation, count, endIds, flag, headSize, layerCount, parseConfig, positive } from './parts/config.ts';
import { embeddingName, logitsOf } from './parts/head.ts';
import { mlp } from './parts/mlp.ts';
import { namedNorm } from './parts/norm.ts';
import { WeightList } from './parts/weights.ts';

const schema = z.object({
  n_embd: count,
  n_inner: z.nullish(count),
  n_layer: layerCount,
  n_head: count,
  n_positions: z._default(count, 1024),
  vocab_size: count,
  activation_function: z._default(activation, 'geluTanh'),
  layer_norm_epsilon: z._default(positive, 1e-5),
  scale_attn_weights: flag(true),
  scale_attn_by_inverse_layer_idx: flag(false),
  add_cross_attention: z.optional(z.literal(false, 'attention to another text is not computed')),
  tie_word_embeddings: flag(true),
  eos_token_id: endIds,
});

type Config = ReturnType<typeof readConfig>;

function readConfig(json: unknown) {
  const config = parseConfig(schema, json);
  return {
    ...config,
    headDim: headSize(config.n_embd, config.n_head, ['n_embd', 'n_head']),
    neurons: config.n_inner ?? 4 * config.n_embd,
  };
}

/** GPT-2 (Radford et al. 2019): learned positions; checkpoints have one input a row. */
export const gpt2: Family<Config> = {
  name: 'gpt2',
  summary: 'GPT-2: learned positions',
  modelTypes: ['gpt2'],
  config: readConfig,

  describe: (c) => ({
    family: 'gpt2',
    layers: c.n_layer,
    heads: c.n_head,
    kvHeads: c.n_head,
    headDim: c.headDim,
    hiddenSize: c.n_embd,
    neurons: c.neurons,
    vocabulary: c.vocab_size,
    context: c.n_positions,
    positions: 'learned',
    activation: c.activation_function,
    gated: false,
    endIds: c.eos_token_id,
  }),

  weights(c) {
    const { n_embd: E, neurons: F, n_head: heads, headDim } = c;
    const list = new WeightList(['transformer'], { oneInputARow: true });
    list.embedding('wte', c.tie_word_embeddings ? undefined : 'lm_head', [c.vocab_size, E]);
    list.table('positions', 'wpe', [c.n_positions, E]);
    list.norm('finalNorm', 'ln_f', E);
    for (let i = 0; i < c.n_layer; i++) {
      const [block, from] = [`layers.${i}`, `h.${i}`];
      list.norm(`${block}.attentionNorm`, `${from}.ln_1`, E);
      list.norm(`${block}.mlpNorm`, `${from}.ln_2`, E);
      list.fused(`${block}.attention`, `${from}.attn.c_attn`, E, true, {
        heads,
        kvHeads: heads,
        headDim,
        by: 'kinds',
      });
      list.outward(`${block}.attention.oProj`, `${from}.attn.c_proj`, [E, E], true);
      list.inward(`${block}.mlp.upProj`, `${from}.mlp.c_fc`, [F, E], true);
      list.outward(`${block}.mlp.downProj`, `${from}.mlp.c_proj`, [F, E], true);
    }
    return list.specs;
  },

  constants: () => ({}),

  forward(g, c, weights, step) {
    const normed = (name: string, x: Tensor): Tensor =>
      namedNorm(g, weights, name, x, { eps: c.layer_norm_epsilon });
    let x = embed(g, {
      table: weights.get('positions'),
      ids: step.positions,
      add: embed(g, { table: weights.get(embeddingName), ids: step.tokens }),
    });
    const hidden = [x];
    for (let layer = 0; layer < c.n_layer; layer++) {
      const block = `layers.${layer}`;
      const scale = c.scale_attn_weights ? 1 / Math.sqrt(c.headDim) : 1;
      x = attentionBlock(g, weights, step.cache, step.sparsity, {
        prefix: `${block}.attention`,
        layer,
        x: normed(`${block}.attentionNorm`, x),
        add: x,
        heads: c.n_head,
        headDim: c.headDim,
        rotation: undefined,
        scale: c.scale_attn_by_inverse_layer_idx ? scale / (layer + 1) : scale,
      });
      x = mlp(g, weights, step.sparsity, {
        prefix: `${block}.mlp`,
        layer,
        x: normed(`${block}.mlpNorm`, x),
        add: x,
        activation: c.activation_function,
        gated: false,
      });
      hidden.push(x);
    }
    x = normed('finalNorm', x);
    hidden[c.n_layer] = x;
    return { hidden, logits: logitsOf(g, weights, x, step) };
  },
};

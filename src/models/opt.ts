import * as z from 'zod/mini';
import type { Family } from '../model.ts';
import { embed } from '../ops/embed.ts';
import { linear } from '../ops/linear.ts';
import type { Tensor } from '../tensor.ts';
import { attentionBlock } from './parts/attention.ts';
import { activation, count, endIds, flag, headSize, layerCount, parseConfig } from './parts/config.ts';
import { embeddingName, logitsOf } from './parts/head.ts';
import { mlp } from './parts/mlp.ts';
import { namedNorm } from './parts/norm.ts';
import { WeightList } from './parts/weights.ts';

const schema = z.object({
  hidden_size: count,
  ffn_dim: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  vocab_size: count,
  max_position_embeddings: count,
  word_embed_proj_dim: z.optional(count),
  activation_function: z._default(activation, 'relu'),
  do_layer_norm_before: flag(true),
  _remove_final_layer_norm: flag(false),
  enable_bias: flag(true),
  layer_norm_elementwise_affine: flag(true),
  tie_word_embeddings: flag(true),
  eos_token_id: endIds,
});

type Config = ReturnType<typeof readConfig>;

function readConfig(json: unknown) {
  const config = parseConfig(schema, json);
  return {
    ...config,
    headDim: headSize(config.hidden_size, config.num_attention_heads),
    /** Width of the embeddings. */
    wordSize: config.word_embed_proj_dim ?? config.hidden_size,
  };
}

/** torch's default, which no configuration changes. */
const eps = 1e-5;
/** Rows of the position table before the one for position 0. */
const positionOffset = 2;

/** OPT (arXiv 2205.01068): learned positions; norms before (or, in 350m, after) each half of a block. */
export const opt: Family<Config> = {
  name: 'opt',
  summary: 'OPT, all sizes: learned positions; ReLU',
  modelTypes: ['opt'],
  config: readConfig,

  describe: (c) => ({
    family: 'opt',
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    kvHeads: c.num_attention_heads,
    headDim: c.headDim,
    hiddenSize: c.hidden_size,
    neurons: c.ffn_dim,
    vocabulary: c.vocab_size,
    context: c.max_position_embeddings,
    positions: 'learned',
    activation: c.activation_function,
    gated: false,
    endIds: c.eos_token_id,
  }),

  weights(c) {
    const { hidden_size: E, ffn_dim: F, vocab_size: V, wordSize: W, enable_bias: bias } = c;
    const list = new WeightList(['model.decoder', 'decoder']);
    const norm = (name: string, from: string): void => {
      list.norm(name, c.layer_norm_elementwise_affine ? from : undefined, E);
    };
    list.embedding('embed_tokens', c.tie_word_embeddings ? undefined : 'lm_head', [V, W]);
    list.table('positions', 'embed_positions', [c.max_position_embeddings + positionOffset, E]);
    if (W !== E) {
      list.table('projectIn', 'project_in', [E, W]);
      list.table('projectOut', 'project_out', [W, E]);
    }
    if (hasFinalNorm(c)) norm('finalNorm', 'final_layer_norm');
    for (let i = 0; i < c.num_hidden_layers; i++) {
      const block = `layers.${i}`;
      const [attention, from] = [`${block}.attention`, `${block}.self_attn`];
      norm(`${block}.attentionNorm`, `${block}.self_attn_layer_norm`);
      list.inward(`${attention}.qProj`, `${from}.q_proj`, [E, E], bias);
      list.inward(`${attention}.kProj`, `${from}.k_proj`, [E, E], bias);
      list.inward(`${attention}.vProj`, `${from}.v_proj`, [E, E], bias);
      list.outward(`${attention}.oProj`, `${from}.out_proj`, [E, E], bias);
      norm(`${block}.mlpNorm`, `${block}.final_layer_norm`);
      list.inward(`${block}.mlp.upProj`, `${block}.fc1`, [F, E], bias);
      list.outward(`${block}.mlp.downProj`, `${block}.fc2`, [F, E], bias);
    }
    return list.specs;
  },

  constants: () => ({}),

  forward(g, c, weights, step) {
    const before = c.do_layer_norm_before;
    const words = embed(g, { table: weights.get(embeddingName), ids: step.tokens });
    const projected = c.wordSize !== c.hidden_size;
    let x = embed(g, {
      table: weights.get('positions'),
      ids: step.positions,
      offset: positionOffset,
      add: projected ? linear(g, { x: words, w: weights.get('projectIn') }) : words,
    });
    const hidden = [x];
    for (let layer = 0; layer < c.num_hidden_layers; layer++) {
      const block = `layers.${layer}`;
      const half = (name: string, run: (input: Tensor, add: Tensor) => Tensor): void => {
        const normed = (y: Tensor): Tensor => namedNorm(g, weights, `${block}.${name}Norm`, y, { eps });
        x = before ? run(normed(x), x) : normed(run(x, x));
      };
      half('attention', (input, add) =>
        attentionBlock(g, weights, step.cache, step.sparsity, {
          prefix: `${block}.attention`,
          layer,
          x: input,
          add,
          heads: c.num_attention_heads,
          headDim: c.headDim,
          rotation: undefined,
        }),
      );
      half('mlp', (input, add) =>
        mlp(g, weights, step.sparsity, {
          prefix: `${block}.mlp`,
          layer,
          x: input,
          add,
          activation: c.activation_function,
          gated: false,
        }),
      );
      hidden.push(x);
    }
    if (hasFinalNorm(c)) x = namedNorm(g, weights, 'finalNorm', x, { eps });
    if (projected) x = linear(g, { x, w: weights.get('projectOut') });
    hidden[c.num_hidden_layers] = x;
    return { hidden, logits: logitsOf(g, weights, x, step) };
  },
};

const hasFinalNorm = (c: Config): boolean => c.do_layer_norm_before && !c._remove_final_layer_norm;

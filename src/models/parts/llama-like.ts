import * as z from 'zod/mini';
import type { Family } from '../../model.ts';
import { embed } from '../../ops/embed.ts';
import type { Tensor } from '../../tensor.ts';
import { attentionBlock } from './attention.ts';
import { activation, count, endIds, flag, headSize, layerCount, positive, refuse } from './config.ts';
import { embeddingName, logitsOf } from './head.ts';
import { mlp } from './mlp.ts';
import { namedNorm } from './norm.ts';
import {
  frequenciesName,
  readRope,
  ropeFields,
  ropeFrequencies,
  rotatedSize,
  rotationOf,
} from './rope.ts';
import { WeightList } from './weights.ts';

/** Fields of config.json that Llama and its descendants share. */
export const llamaFields = {
  ...ropeFields,
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  num_key_value_heads: z.nullish(count),
  head_dim: z.nullish(count),
  vocab_size: count,
  max_position_embeddings: count,
  hidden_act: z._default(activation, 'silu'),
  rms_norm_eps: z._default(positive, 1e-6),
  tie_word_embeddings: flag(false),
  eos_token_id: endIds,
};

type Fields = z.output<z.ZodMiniObject<typeof llamaFields>>;

/** Where the descendants differ. */
interface Differences {
  /** Biases of query, key and value projections, of the output projection, and of the MLP's. */
  readonly biases: { readonly qkv: boolean; readonly out: boolean; readonly mlp: boolean };
  /** Queries and keys of each head are normed before they are rotated. */
  readonly qkNorm: boolean;
  /** Keys a query sees, by layer; 0: all. */
  readonly windows: readonly number[];
  /** Neurons are multiplied with a gate. Default true. */
  readonly gated?: boolean;
}

export type LlamaLike = Fields &
  Differences & {
    readonly kvHeads: number;
    readonly headDim: number;
    readonly rope: ReturnType<typeof readRope>;
  };

export function llamaConfig(fields: Fields, differences: Differences): LlamaLike {
  const heads = fields.num_attention_heads;
  const kvHeads = fields.num_key_value_heads ?? heads;
  if (heads % kvHeads) refuse(`num_key_value_heads is ${kvHeads}`, `a divisor of ${heads} heads`);
  const headDim = fields.head_dim ?? headSize(fields.hidden_size, heads);
  const rope = readRope(fields, { theta: 10_000, share: 1 });
  if (rotatedSize(rope, headDim) !== headDim)
    refuse(`partial_rotary_factor is ${rope.share}`, '1 in this family');
  return { ...fields, ...differences, kvHeads, headDim, rope };
}

/** RMS norms, rotary, grouped queries and a gated MLP, one after the other: Llama's block. */
export const llamaLike = (
  name: string,
  summary: string,
  config: (json: unknown) => LlamaLike,
): Family<LlamaLike> => ({
  name,
  summary,
  modelTypes: [name],
  config,

  describe: (c) => ({
    family: name,
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
    gated: c.gated ?? true,
    endIds: c.eos_token_id,
  }),

  weights(c) {
    const { hidden_size: E, intermediate_size: F, headDim: D, biases } = c;
    const [queries, keys] = [c.num_attention_heads * D, c.kvHeads * D];
    const list = new WeightList(['model']);
    list.embedding('embed_tokens', c.tie_word_embeddings ? undefined : 'lm_head', [
      c.vocab_size,
      E,
    ]);
    list.norm('finalNorm', 'norm', E, false);
    for (let i = 0; i < c.num_hidden_layers; i++) {
      const block = `layers.${i}`;
      const [attention, from, inner] = [`${block}.attention`, `${block}.self_attn`, `${block}.mlp`];
      list.norm(`${block}.attentionNorm`, `${block}.input_layernorm`, E, false);
      list.norm(`${block}.mlpNorm`, `${block}.post_attention_layernorm`, E, false);
      list.inward(`${attention}.qProj`, `${from}.q_proj`, [queries, E], biases.qkv);
      list.inward(`${attention}.kProj`, `${from}.k_proj`, [keys, E], biases.qkv);
      list.inward(`${attention}.vProj`, `${from}.v_proj`, [keys, E], biases.qkv);
      if (c.qkNorm) {
        list.norm(`${attention}.qNorm`, `${from}.q_norm`, D, false);
        list.norm(`${attention}.kNorm`, `${from}.k_norm`, D, false);
      }
      list.outward(`${attention}.oProj`, `${from}.o_proj`, [queries, E], biases.out);
      if (c.gated ?? true)
        list.inward(`${inner}.gateProj`, `${inner}.gate_proj`, [F, E], biases.mlp);
      list.inward(`${inner}.upProj`, `${inner}.up_proj`, [F, E], biases.mlp);
      list.outward(`${inner}.downProj`, `${inner}.down_proj`, [F, E], biases.mlp);
    }
    return list.specs;
  },

  constants: (c) => ({ [frequenciesName]: ropeFrequencies(c.rope, c.headDim) }),

  forward(g, c, weights, step) {
    const rms = { eps: c.rms_norm_eps, rms: true };
    const normed = (name: string, x: Tensor): Tensor => namedNorm(g, weights, name, x, rms);
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
        window: c.windows[layer],
        ...(c.qkNorm && { qkNorm: { ...rms, of: 'each head' } }),
      });
      x = mlp(g, weights, step.sparsity, {
        prefix: `${block}.mlp`,
        layer,
        x: normed(`${block}.mlpNorm`, x),
        add: x,
        activation: c.hidden_act,
        gated: c.gated ?? true,
      });
      hidden.push(x);
    }
    x = normed('finalNorm', x);
    hidden[c.num_hidden_layers] = x;
    return { hidden, logits: logitsOf(g, weights, x, step) };
  },
});

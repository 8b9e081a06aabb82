import { z } from 'zod';
import type { Family, WeightSpec } from '../model.ts';
import { embed } from '../ops/embed.ts';
import type { Tensor } from '../tensor.ts';
import { attentionBlock } from './parts/attention.ts';
import { activation, count, endIds, headSize, layerCount, parseConfig, refuse } from './parts/config.ts';
import { embeddingName, headName, logitsOf } from './parts/head.ts';
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

const schema = z.object({
  ...ropeFields,
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  num_key_value_heads: count.nullish(),
  head_dim: count.nullish(),
  vocab_size: count,
  max_position_embeddings: count.default(2048),
  hidden_act: activation.default('silu'),
  rms_norm_eps: z.number().positive().default(1e-6),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  sliding_window: z.null('attention in windows is not computed').optional(),
  eos_token_id: endIds,
});

type Config = ReturnType<typeof readConfig>;

function readConfig(json: unknown) {
  const config = parseConfig(schema, json);
  const heads = config.num_attention_heads;
  const kvHeads = config.num_key_value_heads ?? heads;
  if (heads % kvHeads) refuse(`num_key_value_heads is ${kvHeads}`, `a divisor of ${heads} heads`);
  const headDim = config.head_dim ?? headSize(config.hidden_size, heads);
  const rope = readRope(config, { theta: 10_000, share: 1 });
  if (rotatedSize(rope, headDim) !== headDim)
    refuse(`partial_rotary_factor is ${rope.share}`, '1 in this family');
  return { ...config, kvHeads, headDim, rope };
}

/** Llama (arXiv 2302.13971) and its descendants: RMS norm, rotary, gated MLP, grouped queries. */
export const llama: Family<Config> = {
  name: 'llama',
  modelTypes: ['llama'],
  config: readConfig,

  describe: (c) => ({
    family: 'llama',
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    kvHeads: c.kvHeads,
    headDim: c.headDim,
    hiddenSize: c.hidden_size,
    neurons: c.intermediate_size,
    vocabulary: c.vocab_size,
    context: c.max_position_embeddings,
    activation: c.hidden_act,
    gated: true,
    endIds: c.eos_token_id,
  }),

  weights(c) {
    const { hidden_size: E, intermediate_size: F, vocab_size: V } = c;
    const [queries, keys] = [c.num_attention_heads * c.headDim, c.kvHeads * c.headDim];
    const specs: Record<string, WeightSpec> = {};
    const add = (name: string, from: string, spec: Omit<WeightSpec, 'from'>): void => {
      specs[name] = { ...spec, from: [`model.${from}`, from] };
    };
    const addLinear = (name: string, from: string, shape: number[], bias: boolean): void => {
      add(name, `${from}.weight`, { kind: 'matrix', shape });
      if (bias) add(`${name}.bias`, `${from}.bias`, { kind: 'vector', shape: [shape[0]] });
    };
    const addTransposed = (name: string, from: string, inputs: number, bias: boolean): void => {
      const shape = [inputs, E];
      add(name, `${from}.weight`, { kind: 'matrix', shape, transposed: true, norms: true });
      if (bias) add(`${name}.bias`, `${from}.bias`, { kind: 'vector', shape: [E] });
    };

    add(embeddingName, 'embed_tokens.weight', { kind: 'matrix', shape: [V, E] });
    if (!c.tie_word_embeddings)
      specs[headName] = { kind: 'matrix', shape: [V, E], from: 'lm_head.weight' };
    add('finalNorm', 'norm.weight', { kind: 'vector', shape: [E] });
    for (let i = 0; i < c.num_hidden_layers; i++) {
      const block = `layers.${i}`;
      const [attention, gated] = [`${block}.self_attn`, `${block}.mlp`];
      const norms = { kind: 'vector', shape: [E] } as const;
      add(`${block}.attentionNorm`, `${block}.input_layernorm.weight`, norms);
      add(`${block}.mlpNorm`, `${block}.post_attention_layernorm.weight`, norms);
      const { attention_bias, mlp_bias } = c;
      addLinear(`${block}.attention.qProj`, `${attention}.q_proj`, [queries, E], attention_bias);
      addLinear(`${block}.attention.kProj`, `${attention}.k_proj`, [keys, E], attention_bias);
      addLinear(`${block}.attention.vProj`, `${attention}.v_proj`, [keys, E], attention_bias);
      addTransposed(`${block}.attention.oProj`, `${attention}.o_proj`, queries, attention_bias);
      addLinear(`${block}.mlp.gateProj`, `${gated}.gate_proj`, [F, E], mlp_bias);
      addLinear(`${block}.mlp.upProj`, `${gated}.up_proj`, [F, E], mlp_bias);
      addTransposed(`${block}.mlp.downProj`, `${gated}.down_proj`, F, mlp_bias);
    }
    return specs;
  },

  constants: (c) => ({ [frequenciesName]: ropeFrequencies(c.rope, c.headDim) }),

  forward(g, c, weights, step) {
    const normed = (name: string, x: Tensor): Tensor =>
      namedNorm(g, weights, name, x, { eps: c.rms_norm_eps, rms: true });
    const rotation = rotationOf(weights);
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
        kvHeads: c.kvHeads,
        headDim: c.headDim,
        rotation,
      });
      x = mlp(g, weights, step.sparsity, {
        prefix: `${block}.mlp`,
        layer,
        x: normed(`${block}.mlpNorm`, x),
        add: x,
        activation: c.hidden_act,
        gated: true,
      });
      hidden.push(x);
    }
    x = normed('finalNorm', x);
    hidden[c.num_hidden_layers] = x;
    return { hidden, logits: logitsOf(g, weights, x, step) };
  },
};

import { EngineError, expectWhole } from '../errors.ts';
import { unionShare } from '../sparsity.ts';

/**
 * Shapes that speed is measured on without weights, and how dense their layers are.
 *
 * Densities of neurons of OPT are those that Polar-Sparsity calibrated for OPT-6.7B (router misses
 * included, so above what is truly active), as means over the first, middle and last third of the
 * layers; half of the heads, as Deja Vu reports for OPT-175B at no loss. Llama shapes are those of ReGLU
 * variants: 30 % of the neurons, as PowerInfer measured for Llama-2-7B, and all heads. Block 0 computes
 * all heads.
 */
export interface Shape {
  readonly name: string;
  /** A config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Layers of the real model. */
  readonly of: number;
  /** Where the shape has the first of them alone. */
  readonly stack?: { readonly layers: number; readonly of: number; readonly vocabulary: number };
  /** Shares of neurons selected in each third of the layers, for so many rows together. */
  readonly neurons: (rows: number) => Thirds;
  readonly heads: number;
}

/** Means over the first, the middle and the last third of the layers. */
export type Thirds = readonly [number, number, number];

/** Polar-Sparsity's tables of OPT-6.7B: thirds for one row and for 16, means over all layers for 1, 2, 4 … */
const one: Thirds = [0.034, 0.082, 0.165];
const sixteen: Thirds = [0.091, 0.403, 0.672];
const means = [0.095, 0.153, 0.206, 0.29, 0.398, 0.517, 0.623, 0.707, 0.772];

/**
 * Shares for any number of rows. The mean is interpolated between powers of two; the thirds lie between
 * those of one row and of 16 as the means do, and beyond 16 what is left out shrinks as it does in the mean.
 */
export function optThirds(rows: number): Thirds {
  const place = Math.min(Math.log2(rows), means.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, means.length - 1);
  const mean = means[below] + (place - below) * (means[above] - means[below]);
  const [first, last] = [means[0], means[4]];
  const third = (i: 0 | 1 | 2): number =>
    mean <= last
      ? one[i] + ((mean - first) / (last - first)) * (sixteen[i] - one[i])
      : 1 - ((1 - sixteen[i]) * (1 - mean)) / (1 - last);
  return [third(0), third(1), third(2)];
}

/** Where nobody measured how unions grow: as those of independent rows. */
const llamaThirds = (rows: number): Thirds => {
  const share = unionShare(0.3, rows);
  return [share, share, share];
};

const optConfig = (
  hidden_size: number,
  num_hidden_layers: number,
  num_attention_heads: number,
): Record<string, unknown> => ({
  model_type: 'opt',
  hidden_size,
  ffn_dim: 4 * hidden_size,
  word_embed_proj_dim: hidden_size,
  num_hidden_layers,
  num_attention_heads,
  vocab_size: 50272,
  max_position_embeddings: 2048,
  activation_function: 'relu',
  do_layer_norm_before: true,
  bos_token_id: 2,
  eos_token_id: 2,
  torch_dtype: 'float16',
});

const llamaConfig = (
  hidden_size: number,
  intermediate_size: number,
  num_hidden_layers: number,
  num_key_value_heads: number,
): Record<string, unknown> => ({
  model_type: 'llama',
  hidden_size,
  intermediate_size,
  num_hidden_layers,
  num_attention_heads: 32,
  num_key_value_heads,
  vocab_size: 32000,
  max_position_embeddings: 4096,
  hidden_act: 'relu',
  // Biases let the gate be as sparse as the profile says; they are a thousandth of the weights.
  mlp_bias: true,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2,
  torch_dtype: 'float16',
});

export const shapes: readonly Shape[] = [
  {
    name: 'opt-1.3b',
    config: optConfig(2048, 24, 32),
    of: 24,
    neurons: optThirds,
    heads: 0.5,
  },
  {
    name: 'opt-6.7b',
    config: optConfig(4096, 32, 32),
    of: 32,
    neurons: optThirds,
    heads: 0.5,
  },
  {
    name: 'llama-1.1b',
    config: llamaConfig(2048, 5632, 22, 4),
    of: 22,
    neurons: llamaThirds,
    heads: 1,
  },
  {
    name: 'llama2-7b',
    config: llamaConfig(4096, 11008, 32, 32),
    of: 32,
    neurons: llamaThirds,
    heads: 1,
  },
];

export function findShape(name: string): Shape {
  const shape = shapes.find((s) => s.name === name);
  if (shape) return shape;
  throw new EngineError(
    'BAD_REQUEST',
    `\`shape\` is "${name}", expected one of ${shapes.map((s) => s.name).join(', ')}`,
  );
}

/** Ids a stack of layers knows. */
const stackVocabulary = 256;

/**
 * The first layers of a shape, to measure what a long context does to layers in memory that all of them would
 * not fit. Embeddings and head, which a whole model has once for all its layers, know so few ids that they count
 * for nothing. Throws `BAD_REQUEST` where the shape has fewer layers.
 */
export function stackOf(shape: Shape, layers: number): Shape {
  const { name, config, of } = shape;
  expectWhole('layers', layers, 1, of, `, those of ${name}`);
  return {
    ...shape,
    name: `${name}, ${layers} of ${of} layers`,
    config: { ...config, num_hidden_layers: layers, vocab_size: stackVocabulary },
    stack: { layers, of, vocabulary: stackVocabulary },
  };
}

/** Share of neurons that `rows` rows select together in a layer. */
export const neuronShare = ({ neurons, of }: Shape, layer: number, rows: number): number =>
  neurons(rows)[Math.min(2, Math.floor((3 * layer) / of))];

import type { Model } from '../../engine/step.ts';
import { EngineError } from '../../errors.ts';
import type { Description } from '../../model.ts';
import { type DType, quantGroup, type Tensor } from '../../tensor.ts';
import type { GgufMetadata, GgufTensor, GgufType } from '../gguf.ts';

/** An architecture of llama.cpp, as which models of ours run there. */
interface Architecture {
  readonly name: string;
  readonly gated: boolean;
  /** Families that are this architecture; others run as the first that is gated or not as they are. */
  readonly families: readonly string[];
  /** GGUF's matrices of a block by ours; of several of ours, rows one after the other. */
  readonly matrices: Readonly<Record<string, readonly string[]>>;
  readonly biases: boolean;
  readonly metadata: (d: Description) => GgufMetadata;
  readonly learnedPositions?: boolean;
}

const plainMatrices = {
  attn_qkv: ['attention.qProj', 'attention.kProj', 'attention.vProj'],
  attn_output: ['attention.oProj'],
  ffn_up: ['mlp.upProj'],
  ffn_down: ['mlp.downProj'],
};

/** Ours with a row for each input, where GGUF always has one for each output. */
const byInput = new Set(['attention.oProj', 'mlp.downProj']);

/** The first of its kind is what families run as that llama.cpp has no architecture for. */
const architectures: readonly Architecture[] = [
  {
    name: 'llama',
    gated: true,
    families: ['llama'],
    matrices: {
      attn_q: ['attention.qProj'],
      attn_k: ['attention.kProj'],
      attn_v: ['attention.vProj'],
      attn_output: ['attention.oProj'],
      ffn_gate: ['mlp.gateProj'],
      ffn_up: ['mlp.upProj'],
      ffn_down: ['mlp.downProj'],
    },
    biases: false,
    metadata: (d) => ({
      'llama.attention.layer_norm_rms_epsilon': { real: 1e-5 },
      'llama.attention.key_length': { whole: d.headDim },
      'llama.attention.value_length': { whole: d.headDim },
      'llama.rope.dimension_count': { whole: d.headDim },
    }),
  },
  {
    name: 'gpt2',
    gated: false,
    families: ['gpt2'],
    matrices: plainMatrices,
    biases: true,
    learnedPositions: true,
    metadata: () => ({ 'gpt2.attention.layer_norm_epsilon': { real: 1e-5 } }),
  },
  {
    name: 'gptneox',
    gated: false,
    families: ['gpt_neox'],
    matrices: plainMatrices,
    biases: true,
    metadata: (d) => ({
      'gptneox.attention.layer_norm_epsilon': { real: 1e-5 },
      'gptneox.rope.dimension_count': { whole: d.headDim },
      'gptneox.use_parallel_residual': true,
    }),
  },
];

/** Types of GGUF that take as many bytes as ours. */
const types: Partial<Record<DType, GgufType>> = {
  f32: 'F32',
  f16: 'F16',
  int8: 'Q8_0',
  int4: 'Q4_0',
  int4z: 'Q4_1',
};

/** A model of random weights for llama.cpp: every matrix of ours, in its shape and in as many bytes. */
export interface GgufModel {
  readonly metadata: GgufMetadata;
  readonly tensors: readonly GgufTensor[];
  /** As what it runs, for people. */
  readonly architecture: string;
}

/** Throws `BAD_REQUEST` for what llama.cpp has no place for, or cannot store in as many bytes. */
export function ggufModel({ family, config, description: d, weights }: Model): GgufModel {
  const own = architectures.find(({ families }) => families.includes(d.family));
  const chosen = own ?? architectures.find(({ gated }) => gated === d.gated)!;
  const { name, learnedPositions } = chosen;
  const used = new Set<string>();
  const tensors: GgufTensor[] = [];
  const vector = (tensor: string, length: number, content: number): void => {
    tensors.push({ name: tensor, type: 'F32', shape: [length], content });
  };
  const norm = (tensor: string): void => {
    vector(`${tensor}.weight`, d.hiddenSize, 1);
    if (chosen.biases) vector(`${tensor}.bias`, d.hiddenSize, 0);
  };
  /** Adds a matrix; returns its outputs. */
  const matrix = (tensor: string, ours: readonly string[], byInput = false): number => {
    const found = ours.map((one) => weights.get(one));
    ours.forEach((one) => used.add(one));
    const shapes = found.map(({ shape }) => (byInput ? [...shape].reverse() : shape));
    const shape = [shapes.reduce((rows, [more]) => rows + more, 0), shapes[0][1]];
    tensors.push({
      name: `${tensor}.weight`,
      type: storedType(tensor, found, shape),
      shape,
      content: 'random',
    });
    return shape[0];
  };

  const specs = Object.entries(family.weights(config));
  matrix('token_embd', ['embedding']);
  // A tied head is the same bytes read in a step: those of the whole matrix, and one row to embed.
  matrix('output', [weights.find('lmHead') ? 'lmHead' : 'embedding']);
  norm('output_norm');
  if (learnedPositions)
    tensors.push({
      name: 'position_embd.weight',
      type: 'F32',
      shape: [d.context, d.hiddenSize],
      content: 'random',
    });
  used.add('positions');
  for (let i = 0; i < d.layers; i++) {
    norm(`blk.${i}.attn_norm`);
    norm(`blk.${i}.ffn_norm`);
    for (const [tensor, ours] of Object.entries(chosen.matrices)) {
      const names = ours.map((one) => `layers.${i}.${one}`);
      const rows = matrix(`blk.${i}.${tensor}`, names, byInput.has(ours[0]));
      if (chosen.biases) vector(`blk.${i}.${tensor}.bias`, rows, 0);
    }
  }
  const left = specs.find(
    ([weight, { kind }]) => kind === 'matrix' && weights.find(weight) && !used.has(weight),
  );
  if (left)
    throw refusal(`has no place for ${left[0]} of ${d.family}`, 'a model of the usual matrices');
  return {
    metadata: {
      'general.architecture': name,
      [`${name}.context_length`]: { whole: d.context },
      [`${name}.embedding_length`]: { whole: d.hiddenSize },
      [`${name}.block_count`]: { whole: d.layers },
      [`${name}.feed_forward_length`]: { whole: d.neurons },
      [`${name}.attention.head_count`]: { whole: d.heads },
      [`${name}.attention.head_count_kv`]: { whole: d.kvHeads },
      ...chosen.metadata(d),
      // It wants a tokenizer, and does not mind one of no merges and meaningless words.
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.tokens': Array.from({ length: d.vocabulary }, (_, id) => `<${id}>`),
      'tokenizer.ggml.merges': [],
    },
    tensors,
    architecture: own ? name : `${name} in place of ${d.family}: the same matrices`,
  };
}

function storedType(tensor: string, found: readonly Tensor[], shape: readonly number[]): GgufType {
  const dtypes = [...new Set(found.map(({ dtype }) => dtype))];
  const type = types[dtypes[0]];
  if (dtypes.length > 1)
    throw refusal(`stores ${tensor} in one type, and ours are ${dtypes.join(' and ')}`, 'one type');
  if (!type)
    throw refusal(
      `has no type of as many bytes as ${dtypes[0]}`,
      `one of ${Object.keys(types).join(', ')}`,
    );
  if (type.startsWith('Q') && shape[1] % quantGroup)
    throw refusal(
      `stores ${type} in rows of a multiple of ${quantGroup}, and those of ${tensor} are of ${shape[1]}`,
      '`weights` f16 or f32',
    );
  return type;
}

const refusal = (found: string, expected: string): EngineError =>
  new EngineError(
    'BAD_REQUEST',
    `\`peer\`: llama.cpp ${found}; expected ${expected}; choose another model or weights, or leave \`peer\` out`,
  );

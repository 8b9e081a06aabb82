import type { CacheStep } from './cache.ts';
import type { Activation } from './ops/activation.ts';
import type { Recorder } from './program.ts';
import { matrices, type Matrix, type Selector } from './selector.ts';
import type { Tensor } from './tensor.ts';

/**
 * A model family: its configuration, the weights it wants and its forward pass.
 *
 * A family knows no backend, method or policy. It records ops, asks `step.sparsity` what to compute
 * and hands keys and values to `step.cache`. C is the family's own configuration.
 */
export interface Family<C = unknown> {
  /** What results and errors call it. */
  readonly name: string;
  /** For people, in a table of families: which models, and what sets them apart. */
  readonly summary: string;
  /** Values of config.json's `model_type` this family reads. */
  readonly modelTypes: readonly string[];
  /** Check and translate a parsed config.json. Throws `BAD_CONFIG`. */
  config(json: unknown): C;
  /** Sizes, and what sets the model apart. */
  describe(config: C): Description;
  /** Every weight by the name `forward` uses. */
  weights(config: C): Readonly<Record<string, WeightSpec>>;
  /** Values that follow from the configuration alone, e.g. rotary frequencies. */
  constants(config: C): Readonly<Record<string, Float32Array>>;
  /** Record one step. */
  forward(g: Recorder, config: C, weights: Weights, step: Step): Forward;
}

/** What others need to know of a model. */
export interface Description {
  /** Name of the family, as in the table of families. */
  readonly family: string;
  /** L */
  readonly layers: number;
  /** H */
  readonly heads: number;
  /** G */
  readonly kvHeads: number;
  /** D */
  readonly headDim: number;
  /** E */
  readonly hiddenSize: number;
  /** F */
  readonly neurons: number;
  /** V */
  readonly vocabulary: number;
  /** Positions the model was made for. */
  readonly context: number;
  /**
   * How it knows them: an embedding learned for each, which there is none beyond `context`; or by rotation or
   * slopes (ALiBi), which know differences alone.
   */
  readonly positions: 'learned' | 'rotary' | 'alibi';
  /** Of the neurons. */
  readonly activation: Activation;
  /** Whether a neuron has a gate beside its up projection. */
  readonly gated: boolean;
  /** Ids that end a text. */
  readonly endIds: readonly number[];
}

/** Matrices that blocks of a model have. */
export const matricesOf = ({ gated }: Pick<Description, 'gated'>): readonly Matrix[] =>
  gated ? matrices : matrices.filter((matrix) => matrix !== 'gateProj');

const attention: readonly Matrix[] = ['qProj', 'kProj', 'vProj', 'oProj'];

/** The engine's name of a matrix of block `layer`, in every family; its bias has `.bias` behind it. */
export const matrixName = (layer: number, matrix: Matrix): string =>
  `layers.${layer}.${attention.includes(matrix) ? 'attention' : 'mlp'}.${matrix}`;

/** The matrix that a weight is, by its name; undefined for others. */
export const matrixOf = (name: string): Matrix | undefined =>
  matrices.find((matrix) => name.endsWith(`.${matrix}`));

/**
 * One weight as the engine wants it and where a Hugging Face checkpoint has it.
 *
 * `matrix` weights are stored in the type the user chose; `vector`s (norms, biases) are f32.
 */
export interface WeightSpec {
  /** How it is stored. */
  readonly kind: 'matrix' | 'vector';
  /** As the engine stores it. */
  readonly shape: readonly number[];
  /**
   * Name in the checkpoint; where several are given, the first that is there. None: this model has no such weight
   * where others of its kind do, so `find` of it gives undefined.
   */
  readonly from: string | readonly string[];
  /** Absent from a checkpoint without harm: `forward` does without. */
  readonly optional?: boolean;
  /** The checkpoint stores the transpose; engine shape [N, E], file shape [E, N]. */
  readonly transposed?: boolean;
  /**
   * A part of a larger tensor of the checkpoint: its first axis (of the transpose, where it is stored
   * transposed), and which of its rows are ours.
   */
  readonly part?: { readonly rows: number; readonly row: (i: number) => number };
  /**
   * One row an input, so that an input that is skipped is a row that is not read; `rowNorms` of it may be
   * asked for. Absent: one row an output.
   */
  readonly byInputs?: boolean;
}

/** Weights and constants by name, and norms of what inputs add by name of a matrix that lies by inputs. */
export interface Weights {
  /** Throws `INTERNAL` when `weights()` or `constants()` did not declare it. */
  get(name: string): Tensor;
  /** The same for a weight declared optional: undefined when the checkpoint has none. Throws as `get` does. */
  find(name: string): Tensor | undefined;
  /** Whether a matrix lies one row an input: as declared, or laid out so when it was loaded. */
  byInputs(name: string): boolean;
  /**
   * What one unit of each block of `block` input rows puts into the output, [N / block] f32: for single
   * rows (block 1) ‖w[n]‖, for blocks the root-mean-square gain ‖w[block]‖_F / √block. Made on first use.
   * Throws `INTERNAL` when the weight was not declared with `norms`.
   */
  rowNorms(name: string, block: number): Tensor;
}

/** One step to record: T rows. */
export interface Step {
  /** i32 [T] */
  readonly tokens: Tensor;
  /** i32 [T] */
  readonly positions: Tensor;
  /** Stores keys and values and attends. */
  readonly cache: CacheStep;
  /** Answers what to compute. */
  readonly sparsity: Selector;
  /** Rows whose logits are wanted: every row, or the last alone. */
  readonly logits: 'all' | 'last';
}

/** What a recorded step computes. */
export interface Forward {
  /** [T, E] after the embedding, then after each block; the last one after the final norm. */
  readonly hidden: readonly Tensor[];
  /** [T, V] or [1, V] */
  readonly logits: Tensor;
}

import type { Backend } from './backend.ts';
import type { Description } from './model.ts';
import type { Predictor } from './predictor.ts';
import type { Recorder } from './program.ts';
import { type Matrix, type Selector, type Site, sites } from './selector.ts';
import type { Tensor } from './tensor.ts';

/**
 * Share of units that any of `rows` rows needs where each alone needs `share` and rows are independent of
 * one another: the most that a union grows where nobody measured it.
 */
export const unionShare = (share: number, rows: number): number => 1 - (1 - share) ** rows;

/**
 * A sparsity method. The model asks before it computes; dense is the method that says 'all'.
 *
 * A step of several rows, each the next token of its own text, gets one choice of neurons for all rows,
 * the union of what they need: so each row of weights is read once. Heads are chosen for each row, as
 * each reads keys and values of its own; their weights are read for the union.
 *
 * Only decode steps are asked of a method: prefill is dense. What a method leaves out of K and V costs
 * nothing but time: a head that is chosen has those of every token, bit for bit. In a step of one row they
 * are computed for chosen heads alone, and for a head that returns at once for all it has missed (kv.ts);
 * where heads share them, or rows are several, for all heads at every step.
 */
export interface Sparsity {
  /** What options, results and errors call it. */
  readonly name: string;
  /** It leaves out nothing: several tokens of one text may be computed in one step, as prefill does. */
  readonly computesAll?: true;
  /** Start the recording of one step. Called once per recorded program. */
  begin(g: Recorder, step: SparseStep): Selector;
}

/** The step whose recording a method begins. */
export interface SparseStep {
  /** i32 [T]: the text of each row. */
  readonly sequences: Tensor;
  /** i32 [T]: the position of each row in its text. */
  readonly positions: Tensor;
  /** Absent: choosing always pays. */
  readonly limits?: Limits | undefined;
}

/** What a method may leave out: units of a site, neurons after their activation, inputs of matrices. */
export const skips = [...sites, 'carried', 'inputs'] as const;
/** One of them. */
export type Skip = (typeof skips)[number];

/**
 * The largest share of units, or of inputs, at which choosing them still costs less than computing all. A
 * method that expects to choose more answers 'all', and does without whatever it would choose by.
 */
export type Limits = Readonly<Record<Skip, number>>;

/** Whether choosing costs less than computing all, where `share` is expected to be chosen. */
export const pays = ({ limits }: Pick<SparseStep, 'limits'>, skip: Skip, share: number): boolean =>
  !limits || share <= limits[skip];

/** What a method may be built from. */
export interface MethodContext {
  /** Holds what the method keeps in memory. */
  readonly backend: Backend;
  /** Sizes of the model. */
  readonly description: Description;
  /** Present where the method `needs` it. */
  readonly predictor: Predictor | undefined;
  /** Weights of a block: one row an output, or an input where the method's `inputs` say so. */
  readonly matrix: (layer: number, matrix: Matrix) => Tensor;
  /**
   * How many of the site's N to keep in a layer: of neurons for `rows` rows together, of heads for each.
   * Undefined where nobody said: a predictor's thresholds decide, others keep all.
   */
  readonly count: (site: Site, layer: number, rows: number) => number | 'all' | undefined;
  /** Of all that is left to chance. */
  readonly seed: number;
}

/**
 * A method by its name: what it needs, and what others must know of it. For example, one that reads the
 * inputs of queries above a threshold:
 *
 *     const method: Method = {
 *       name: 'large-inputs',
 *       summary: 'all, from the large inputs of queries',
 *       needs: 'nothing',
 *       inputs: ['qProj'],
 *       create: () => ({
 *         name: 'large-inputs',
 *         begin: (g) => ({
 *           select: () => 'all',
 *           inputs: {
 *             qProj: (layer, { values }) => ({ select: selectAbove(g, values, 0.1, { magnitude: true }) }),
 *           },
 *         }),
 *       }),
 *     };
 */
export interface Method {
  /** What options and results call it. */
  readonly name: string;
  /** For people, in a table of methods: which heads and neurons are computed for a token. */
  readonly summary: string;
  /**
   * `counts`: fixed shares, or a predictor file that expects some. `predictor`: that file. `usage`: the
   * file, with how often units were used on the text it was trained on.
   */
  readonly needs: 'nothing' | 'counts' | 'predictor' | 'usage';
  /**
   * Matrices whose inputs it selects: an engine that is opened with this method lays them out one row an
   * input. `oProj` and `downProj` always lie so and need not be named.
   */
  readonly inputs?: readonly Matrix[];
  /** Where no share is given, it keeps as many as the predictor was calibrated to. */
  readonly countsAsCalibrated?: true;
  /**
   * It chooses before activations are known, by a predictor, by chance or by habit: some of what it chooses
   * turns out inactive, and a benchmark on random weights charges for all of it.
   */
  readonly choosesAhead?: true;
  /** Make it for one model in memory. Throws `BAD_REQUEST`. */
  create(context: MethodContext): Sparsity;
}

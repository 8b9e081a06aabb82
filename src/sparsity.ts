import type { Backend } from './backend.ts';
import type { Description } from './model.ts';
import type { Predictor } from './predictor.ts';
import type { Recorder } from './program.ts';
import type { Selector, Site } from './selector.ts';
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
  /** Start the recording of one step. Called once per recorded program. */
  begin(g: Recorder, step: SparseStep): Selector;
}

export interface SparseStep {
  /** i32 [T]: the text of each row. */
  readonly sequences: Tensor;
  /** i32 [T]: the position of each row in its text. */
  readonly positions: Tensor;
  /** Absent: choosing always pays. */
  readonly limits?: Limits | undefined;
}

/**
 * By site, the largest share of units at which choosing them still costs less than computing all. A
 * method that expects to choose more answers 'all', and does without whatever it would choose by.
 */
export type Limits = Readonly<Record<Site, number>>;

/** Whether choosing costs less than computing all, where `share` is expected to be chosen. */
export const pays = ({ limits }: Pick<SparseStep, 'limits'>, site: Site, share: number): boolean =>
  !limits || share <= limits[site];

/** What a method may be built from. */
export interface MethodContext {
  readonly backend: Backend;
  readonly description: Description;
  /** Present unless the method's `needs` says it does without and there is none. */
  readonly predictor: Predictor | undefined;
  /**
   * How many of the site's N to keep in a layer: of neurons for `rows` rows together, of heads for each.
   * Undefined where nobody said: a predictor's thresholds decide, others keep all.
   */
  readonly count: (site: Site, layer: number, rows: number) => number | 'all' | undefined;
  readonly seed: number;
}

export interface Method {
  readonly name: string;
  /** For people, in a table of methods: which heads and neurons are computed for a token. */
  readonly summary: string;
  /** `predictor`: cannot do without a predictor file. `counts`: needs one, or fixed densities. */
  readonly needs: 'nothing' | 'counts' | 'predictor';
  /** Where no share is given, keep as many as the predictor's calibration expects to. */
  readonly followsPredictor: boolean;
  /** What it selects may turn out inactive: it does not look at true activations. */
  readonly guesses: boolean;
  create(context: MethodContext): Sparsity;
}

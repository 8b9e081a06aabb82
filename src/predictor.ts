import type { HostTensor } from './op.ts';
import type { Site } from './selector.ts';
import type { Tensor } from './tensor.ts';

/**
 * What training leaves beside a model: for each layer a low-rank predictor of its neurons and one of
 * its heads, where to put their thresholds, and how all of it came about.
 */
export interface PredictorFile {
  /** What it was trained for and on. */
  readonly provenance: Provenance;
  /** L entries. Block 0 has no predictor of heads: no earlier block could ask it. */
  readonly layers: readonly Readonly<Record<Site, SitePredictor | undefined>>[];
  /** Thresholds that were measured together, least loss first. */
  readonly points: readonly OperatingPoint[];
}

/** Types that matrices of neurons' predictors are trained for and served in. */
export const predictorTypes = ['int8', 'int4', 'int2g128'] as const;
/** A type that predictors of neurons may have. */
export type PredictorType = (typeof predictorTypes)[number];

/** What `train` makes unless asked otherwise, and what those of a shape are. */
export const usualType: PredictorType = 'int2g128';

/** Type of a site's matrices. Heads are few: their predictors stay at 4 bits, which cost next to nothing. */
export const siteType = (type: PredictorType, site: Site): PredictorType =>
  site === 'heads' && type === 'int2g128' ? 'int4' : type;

/** What a predictor was trained for and on. */
export interface Provenance {
  /** sha256 of the checkpoint it was trained for. */
  readonly modelHash: string;
  /** `SCHEME:` and the sha256 of samples of it, which a start compares; absent from older files. */
  readonly modelSample?: string | undefined;
  /** Of the model. */
  readonly family: string;
  /** sha256 of the calibration text's ids. */
  readonly textHash: string;
  /** Ids the predictors were fitted on, and those held out to calibrate and measure. */
  readonly tokens: number;
  /** Ids that thresholds were calibrated on. */
  readonly heldOutTokens: number;
  /** Of its start and order of examples. */
  readonly seed: number;
  /** Mean rank of the neurons' predictors, and each layer's. */
  readonly rank: number;
  /** Of each layer's predictor of neurons. */
  readonly ranks: readonly number[];
  /** Of the neurons' matrices; of the heads' by `siteType`. */
  readonly type: PredictorType;
  /** Steps of each layer's fit, and examples a step. */
  readonly steps: number;
  /** Examples of a step. */
  readonly batch: number;
}

/**
 * scores = up · relu(down · x + downBias) + upBias, for x [E] the attention input of the same block
 * (neurons) or of the one before (heads).
 */
export interface SitePredictor {
  /** Of a `siteType` [r, E] */
  readonly down: HostTensor;
  /** f32 [r] */
  readonly downBias: HostTensor;
  /** The same [N, r] */
  readonly up: HostTensor;
  /** f32 [N] */
  readonly upBias: HostTensor;
  /** f32 [N]: mean contribution of each unit over the calibration text; `static` ranks by it. */
  readonly usage: Float32Array;
  /** What thresholds give on held-out tokens, ascending by threshold. */
  readonly curve: readonly ThresholdPoint[];
}

/** What a predictor selects by one threshold. */
export interface ThresholdPoint {
  /** Scores above it are selected. */
  readonly threshold: number;
  /** Share of the truly active units that are selected. */
  readonly recall: number;
  /** Share of the selected units that are truly active. */
  readonly precision: number;
  /** Share of all units that are selected. */
  readonly density: number;
  /** Share of the contribution |a|·‖w‖ that is selected. */
  readonly kept: number;
}

/** Thresholds that were calibrated for one budget of loss. */
export interface OperatingPoint {
  /** Loss budget this point was calibrated for: relative growth of perplexity. */
  readonly maxLoss: number;
  /** Divergence from dense that was measured on held-out calibration text, in nats a token. */
  readonly loss: number;
  /** L entries; a site that is absent computes all. */
  readonly thresholds: readonly Readonly<Record<Site, number | undefined>>[];
  /** Shares of neurons and heads selected by these thresholds, L entries. */
  readonly densities: readonly Readonly<Record<Site, number>>[];
  /** What several rows select together, by ascending number of rows; absent where nobody measured. */
  readonly unions?: readonly Union[] | undefined;
}

/** Share of neurons that some number of rows, of different texts, select together, L entries. */
export interface Union {
  /** Of different texts. */
  readonly rows: number;
  /** L entries. */
  readonly neurons: readonly number[];
}

/** A predictor at one operating point, in a backend's memory. */
export interface Predictor {
  /** Of the file. */
  readonly layers: PredictorFile['layers'];
  /** Of all its matrices. */
  readonly weightBytes: number;
  /** Undefined where none was trained. */
  net(site: Site, layer: number): LowRankNet | undefined;
  /** Undefined where the point computes all. */
  threshold(site: Site, layer: number): number | undefined;
  /** Share that is expected to be selected: of neurons by `rows` rows together, of heads by each. */
  density(site: Site, layer: number, rows: number): number;
  /** Give its memory back. */
  release(): void;
}

/** One predictor in a backend's memory: up · relu(down · x + downBias) + upBias. */
export interface LowRankNet {
  /** [r, E] */
  readonly down: Tensor;
  /** f32 [r] */
  readonly downBias: Tensor;
  /** [N, r] */
  readonly up: Tensor;
  /** f32 [N] */
  readonly upBias: Tensor;
}

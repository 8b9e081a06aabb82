import type { Engine } from '../engine/engine.ts';
import type { Prompt } from '../engine/generate.ts';
import { EngineError, expectWhole } from '../errors.ts';
import { writePredictor } from '../loaders/files.ts';
import { sha256 } from '../loaders/fs.ts';
import { hashCheckpoint, sampleCheckpoint } from '../loaders/identity.ts';
import { predictorBeside } from '../loaders/names.ts';
import {
  type OperatingPoint,
  type PredictorFile,
  type PredictorType,
  type Provenance,
  usualType,
} from '../predictor.ts';
import { assemble, makeGates, methodAt, reportLayers, type SiteReport } from './assemble.ts';
import { collectIds, splitText } from './collect.ts';
import { blockRows } from './examples.ts';
import { fitLayers } from './fit-layers.ts';
import { decodeLosses, denseLosses, mean, scoredWindows, type Window } from './losses.ts';
import { calibratePoints, pointPhases } from './points.ts';
import { Progress, type TrainProgress } from './progress.ts';
import { WorkFolder } from './work-folder.ts';

/** What to train on, and how long. */
export interface TrainOptions {
  /** Calibration texts, or their ids. */
  readonly texts: readonly Prompt[];
  /** File to write. Default: `predictor.safetensors` beside the model. */
  readonly output?: string;
  /** Most ids to use of the texts. Default: a million. */
  readonly tokens?: number;
  /** Steps of each layer's fit, of `batch` examples. Default 1000. */
  readonly steps?: number;
  /** Default 2048. */
  readonly batch?: number;
  /** Rank of every neuron predictor. Default: by layer, within 11.8 % of the MLP's f16 bytes. */
  readonly rank?: number;
  /**
   * Type of the matrices of neurons' predictors. Default int2g128, which takes half the bytes of int4 of the
   * same rank, or twice the rank (docs/log.md has what that does).
   */
  readonly type?: PredictorType;
  /** Held-out ids that thresholds are calibrated on, and as many to report on. Default 8192. */
  readonly calibrationTokens?: number;
  /** Default 0. The same seed, text, model and machine kind give the same file. */
  readonly seed?: number;
  /** Most bytes of scratch on disk; layers are trained in groups that fit. Default 6 GiB. */
  readonly diskBytes?: number;
  /** Called as the work goes on. */
  readonly onProgress?: (progress: TrainProgress) => void;
  /** Ends the work between steps; another run with the same options goes on from there. */
  readonly signal?: AbortSignal;
}

/** What was fitted, and how well it does on text that it was not fitted on. */
export interface TrainResult {
  /** The file that was written. */
  readonly predictor: string;
  /** Mean rank of the neurons' predictors. */
  readonly rank: number;
  /** That it was made with. */
  readonly seed: number;
  /** That it took, without what an earlier run did. */
  readonly seconds: number;
  /** Ids the predictors were fitted on. */
  readonly tokens: number;
  /** On held-out tokens, at the default operating point. */
  readonly layers: readonly {
    readonly neurons: SiteReport;
    readonly heads: SiteReport;
  }[];
  /** Perplexity on held-out text that took no part in the calibration. */
  readonly loss: { readonly dense: number; readonly sparse: number; readonly tokens: number };
  /** What it was made from, as the file says. */
  readonly provenance: Provenance;
}

/** The loss budget that is reported on. */
const reportedBudget = 0.01;
/** Dense logits of the calibration text are kept in memory: at most this many numbers. */
const keptLogits = 2 ** 27;
const heldOutShare = 0.05;
const largestWindow = 512;

/**
 * Train predictors for an engine's model and write them to one file, unattended. A run that was ended goes on where it
 * was. Throws `BAD_REQUEST`, `BAD_TEXT` where there is too little text, `NO_TOKENIZER`, `ABORTED`.
 *
 *     await using dense = await Engine.open('models/mine', { sparsity: 'dense' });
 *     const { loss } = await train(dense, { texts: [text] });
 *     await using engine = await Engine.open('models/mine'); // finds the predictor beside the model
 */
export async function train(engine: Engine, options: TrainOptions): Promise<TrainResult> {
  const start = performance.now();
  const { description } = engine;
  const { layers } = description;
  const settings = settle(options);
  const { seed, steps, batch, type, calibrationTokens, diskBytes, signal } = settings;
  const output = options.output ?? predictorBeside(engine.path);
  const text = divide(engine, options.texts, settings);
  const { ids, window, tuning, reporting } = text;
  const modelHash = await hashCheckpoint(engine.files);
  const modelSample = await sampleCheckpoint(engine.files);
  const textHash = await sha256([new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength)]);

  const progress = new Progress(options.onProgress);
  const observing = progress.phase(ids.length, 1);
  const fitting = progress.phase(layers * steps, batch / 4);
  const phases = pointPhases(progress, layers, tuning.length, window);
  const { fits, ranks, work } = await fitLayers(engine, {
    ...{ ids, window, type, steps, batch, seed, diskBytes, signal, observing, fitting },
    trainTokens: text.trainTokens,
    rank: options.rank,
    openWork: (ranks) => {
      const key = { modelHash, textHash, seed, steps, batch, type, ranks, window };
      return WorkFolder.open(`${output}.work`, JSON.stringify({ ...key, calibrationTokens }));
    },
  });

  const provenance: Provenance = {
    ...{ modelHash, modelSample, textHash, seed, ranks, type, steps, batch },
    family: description.family,
    rank: Math.round(mean(ranks)),
    tokens: text.trainTokens,
    heldOutTokens: text.heldOut.length,
  };
  const uncalibrated = assemble(fits, provenance);
  const gates = makeGates(fits, description);
  const { heldOut } = text;
  const calibration = { tuning, heldOut, work, phases, signal };
  const points = await calibratePoints(engine, uncalibrated, gates, calibration);
  const file: PredictorFile = { ...uncalibrated, points };
  const reported = reportedPoint(points);
  const loss = await lossAt(engine, file, reported, reporting, signal);
  await writePredictor(output, file);
  await work.remove();
  return {
    predictor: output,
    rank: provenance.rank,
    seed,
    seconds: (performance.now() - start) / 1000,
    tokens: provenance.tokens,
    layers: reportLayers(gates, reported, layers),
    loss,
    provenance,
  };
}

/** Options with their defaults. Throws `BAD_REQUEST`. */
function settle(options: TrainOptions) {
  const { seed = 0, steps = 1000, batch = 2048, type = usualType, signal } = options;
  const { calibrationTokens = 8192, diskBytes = 6 * 2 ** 30, tokens = 1_000_000 } = options;
  expectWhole('seed', seed, 0);
  expectWhole('steps', steps, 1);
  expectWhole('tokens', tokens, 1);
  expectBlocks(batch);
  expectWhole('calibrationTokens', calibrationTokens, 1);
  return { seed, steps, batch, type, signal, calibrationTokens, diskBytes, tokens };
}

function expectBlocks(batch: number): void {
  if (Number.isInteger(batch / blockRows) && batch > 0) return;
  throw new EngineError(
    'BAD_REQUEST',
    `\`batch\` is ${batch}, expected a multiple of ${blockRows} above 0; correct it`,
  );
}

/** The texts' ids: what is fitted on, and of the held-out rest what tunes thresholds and what is reported on. */
function divide(
  engine: Engine,
  texts: readonly Prompt[],
  { tokens, calibrationTokens }: ReturnType<typeof settle>,
) {
  const window = Math.min(largestWindow, engine.context - (engine.context % blockRows));
  const ids = collectIds(engine, texts, tokens, window);
  const split = splitText(ids, window, heldOutShare);
  const most = Math.floor(keptLogits / engine.description.vocabulary);
  const windows = scoredWindows(split.heldOut, window, 2 * Math.min(calibrationTokens, most));
  const middle = Math.ceil(windows.length / 2);
  const [tuning, reporting] = [windows.slice(0, middle), windows.slice(middle)];
  return { ids, window, ...split, tuning, reporting };
}

/** The point of the reported budget. Throws `INTERNAL` where none keeps within it. */
function reportedPoint(points: readonly OperatingPoint[]): OperatingPoint {
  const reported = points.findLast(({ maxLoss }) => maxLoss <= reportedBudget);
  if (reported) return reported;
  throw new EngineError(
    'INTERNAL',
    `train: no thresholds keep the loss within ${100 * reportedBudget} %, not even ones that select nearly all; the fits have failed, try other \`texts\` or more \`steps\``,
  );
}

/** Perplexities on text that took no part in the calibration. */
async function lossAt(
  engine: Engine,
  file: PredictorFile,
  point: OperatingPoint,
  windows: readonly Window[],
  signal: AbortSignal | undefined,
): Promise<TrainResult['loss']> {
  const { backend, checkpoint } = engine;
  const dense = mean(await denseLosses(backend, checkpoint, windows));
  using method = methodAt(engine, file, point);
  const sparse = mean(await decodeLosses(backend, checkpoint, method, windows, signal));
  return {
    dense: Math.exp(dense),
    sparse: Math.exp(sparse),
    tokens: windows.reduce((sum, { scored }) => sum + scored.length, 0),
  };
}

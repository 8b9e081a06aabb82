import type { Engine } from '../engine/engine.ts';
import type { Prompt } from '../engine/generate.ts';
import { EngineError, expectWhole } from '../errors.ts';
import { writePredictor } from '../loaders/files.ts';
import { sha256 } from '../loaders/fs.ts';
import { hashCheckpoint, sampleCheckpoint } from '../loaders/identity.ts';
import { predictorBeside } from '../loaders/names.ts';
import { makesZeros } from '../ops/activation.ts';
import {
  type OperatingPoint,
  type PredictorFile,
  type PredictorType,
  type Provenance,
  usualType,
} from '../predictor.ts';
import {
  assemble,
  makeGates,
  methodAt,
  nameOf,
  pointOf,
  reportLayers,
  type SiteReport,
} from './assemble.ts';
import { calibrate, type Measure, sensitivities } from './calibrate.ts';
import {
  collectIds,
  groupLayers,
  observe,
  observerRows,
  openFiles,
  sample,
  splitText,
} from './collect.ts';
import { blockRows } from './examples.ts';
import { fitLayer, type LayerFit } from './layer.ts';
import {
  decodeLosses,
  denseLogits,
  denseLosses,
  divergences,
  mean,
  scoredWindows,
  type Window,
} from './losses.ts';
import { Observer } from './observe.ts';
import { Progress, type TrainProgress } from './progress.ts';
import { chooseRanks, headRank } from './rank.ts';
import { measureUnions, unionSteps } from './unions.ts';
import { WorkFolder } from './work-folder.ts';

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
  readonly onProgress?: (progress: TrainProgress) => void;
  readonly signal?: AbortSignal;
}

export interface TrainResult {
  /** The file that was written. */
  readonly predictor: string;
  /** Mean rank of the neurons' predictors. */
  readonly rank: number;
  readonly seed: number;
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
  readonly provenance: Provenance;
}

/** Loss budgets that thresholds are calibrated for. */
const budgets = [0.0025, 0.005, 0.01, 0.02, 0.05];
/** The one reported on. */
const reportedBudget = 0.01;
/**
 * Nats of divergence from dense that stand for a loss budget: perplexity grew by 0.8 to 0.95 times the
 * divergence in the mean over six books, by up to 1.3 times on one of them, and every text is to stay
 * within.
 */
const spend = 0.72;
/** Dense logits of the calibration text are kept in memory: at most this many numbers. */
const keptLogits = 2 ** 27;
/** Bisections of a budget's price. */
const calibrationSteps = 9;
const heldOutShare = 0.05;
const largestWindow = 512;
const observedRows = 128;

/** Train predictors for an engine's model and write them to one file, unattended. */
export async function train(engine: Engine, options: TrainOptions): Promise<TrainResult> {
  const start = performance.now();
  const { backend, checkpoint, description } = engine;
  const { layers, hiddenSize } = description;
  const { seed = 0, steps = 1000, batch = 2048, type = usualType, signal } = options;
  const { calibrationTokens = 8192, diskBytes = 6 * 2 ** 30, tokens = 1_000_000 } = options;
  expectWhole('seed', seed, 0);
  expectWhole('steps', steps, 1);
  expectWhole('tokens', tokens, 1);
  expectBlocks(batch);
  expectWhole('calibrationTokens', calibrationTokens, 1);

  const output = options.output ?? predictorBeside(engine.path);
  const window = Math.min(largestWindow, engine.context - (engine.context % blockRows));
  const ids = collectIds(engine, options.texts, tokens, window);
  const split = splitText(ids, window, heldOutShare);
  const scored = Math.min(calibrationTokens, Math.floor(keptLogits / description.vocabulary));
  const windows = scoredWindows(split.heldOut, window, 2 * scored);
  const middle = Math.ceil(windows.length / 2);
  const [tuning, reporting] = [windows.slice(0, middle), windows.slice(middle)];
  const modelHash = await hashCheckpoint(engine.files);
  const modelSample = await sampleCheckpoint(engine.files);
  const textHash = await sha256([new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength)]);

  const progress = new Progress(options.onProgress);
  const observing = progress.phase(ids.length, 1);
  const fitting = progress.phase(layers * steps, batch / 4);
  const measurements = 2 * layers - 1 + budgets.length * calibrationSteps;
  const measuring = progress.phase(measurements * tuning.length, 4 * window);
  const together = progress.phase(budgets.length * unionSteps, 16);

  using observer = await Observer.record(
    backend,
    checkpoint,
    observerRows(window, observedRows),
    window,
  );
  const first = await sample(observer, ids);
  const ranks = options.rank
    ? new Array<number>(layers).fill(options.rank)
    : chooseRanks(description, type, first.activeShares);
  const key = { modelHash, textHash, seed, steps, batch, type, ranks, window, calibrationTokens };
  const work = await WorkFolder.open(`${output}.work`, JSON.stringify(key));

  const fits: LayerFit[] = [];
  const pending: number[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const known = await work.loadLayer(layer, hiddenSize, type);
    if (known) fits[layer] = known;
    else pending.push(layer);
  }
  const fitted = layers - pending.length;
  if (fitted > 0) fitting.advance('resume', fitted * steps);
  const groups = groupLayers(pending, first.bytesPerToken, ids.length, diskBytes);
  if (groups.length === 0) observing.skip();
  for (const group of groups) {
    await using files = await openFiles(work.path, group, description);
    await observe(observer, ids, window, files.byLayer, (count) => {
      signal?.throwIfAborted();
      observing.advance('observe the dense model', count / groups.length);
    });
    for (const layer of group) {
      fits[layer] = await fitLayer(
        backend,
        files.byLayer.get(layer)!,
        split.trainTokens / blockRows,
        layer,
        {
          ...{ type, steps, batch, seed, signal },
          exactZeros: makesZeros(description.activation),
          rank: ranks[layer],
          headRank: headRank(description),
          onStep: () => fitting.advance(`fit layer ${layer + 1} of ${layers}`),
        },
      );
      await work.saveLayer(layer, fits[layer]);
    }
  }

  const provenance: Provenance = {
    ...{ modelHash, modelSample, textHash, seed, ranks, type, steps, batch },
    family: description.family,
    rank: Math.round(mean(ranks)),
    tokens: split.trainTokens,
    heldOutTokens: split.heldOut.length,
  };
  const uncalibrated = assemble(fits, provenance);
  const gates = makeGates(fits, description);
  const meter = await divergenceMeter(engine, uncalibrated, tuning, () => {
    signal?.throwIfAborted();
    measuring.advance('calibrate thresholds');
  });
  const measure: Measure = (choice) => work.loss(nameOf(choice), () => meter(choice));
  const factors = await sensitivities(gates, measure);
  const points: OperatingPoint[] = [];
  for (const budget of budgets) {
    const found = await calibrate(factors, spend * budget, measure, calibrationSteps);
    if (!found) continue;
    const point = pointOf(budget, found.loss, found.choice, layers);
    const unions = await measureUnions(engine, uncalibrated, point, split.heldOut, () => {
      signal?.throwIfAborted();
      together.advance('measure texts together');
    });
    points.push({ ...point, unions });
  }
  const file: PredictorFile = { ...uncalibrated, points };
  const reported = points.findLast(({ maxLoss }) => maxLoss <= reportedBudget);
  if (!reported)
    throw new EngineError(
      'INTERNAL',
      `train: no thresholds keep the loss within ${100 * reportedBudget} %, not even ones that select nearly all; the fits have failed, try other \`texts\` or more \`steps\``,
    );
  const dense = mean(await denseLosses(backend, checkpoint, reporting));
  using method = methodAt(engine, file, reported);
  const sparse = mean(await decodeLosses(backend, checkpoint, method, reporting, signal));
  await writePredictor(output, file);
  await work.remove();
  return {
    predictor: output,
    rank: provenance.rank,
    seed,
    seconds: (performance.now() - start) / 1000,
    tokens: provenance.tokens,
    layers: reportLayers(gates, reported, layers),
    loss: {
      dense: Math.exp(dense),
      sparse: Math.exp(sparse),
      tokens: reporting.reduce((sum, { scored }) => sum + scored.length, 0),
    },
    provenance,
  };
}

/** Measures how far a choice of thresholds takes decode steps from dense ones, on the same ids. */
async function divergenceMeter(
  { backend, checkpoint, description }: Engine,
  file: PredictorFile,
  windows: readonly Window[],
  onWindow: () => void,
): Promise<Measure> {
  const reference = await denseLogits(backend, checkpoint, windows);
  return async (choice) => {
    const point = pointOf(NaN, NaN, choice, description.layers);
    using method = methodAt({ backend, description }, file, point);
    return mean(await divergences(backend, checkpoint, method, windows, reference, onWindow));
  };
}

function expectBlocks(batch: number): void {
  if (Number.isInteger(batch / blockRows) && batch > 0) return;
  throw new EngineError(
    'BAD_REQUEST',
    `\`batch\` is ${batch}, expected a multiple of ${blockRows} above 0; correct it`,
  );
}

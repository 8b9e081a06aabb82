import type { Engine } from '../engine/engine.ts';
import type { OperatingPoint, PredictorFile } from '../predictor.ts';
import { methodAt, nameOf, pointOf } from './assemble.ts';
import { calibrate, type Gate, type Measure, sensitivities } from './calibrate.ts';
import { denseLogits, divergences, mean, type Window } from './losses.ts';
import type { Phase, Progress } from './progress.ts';
import { measureUnions, unionSteps } from './unions.ts';
import type { WorkFolder } from './work-folder.ts';

/** Loss budgets that thresholds are calibrated for. */
const budgets = [0.0025, 0.005, 0.01, 0.02, 0.05];
/**
 * Nats of divergence from dense that stand for a loss budget: perplexity grew by 0.8 to 0.95 times the
 * divergence in the mean over six books, by up to 1.3 times on one of them, and every text is to stay
 * within.
 */
const spend = 0.72;
/** Bisections of a budget's price. */
const calibrationSteps = 9;

export interface PointPhases {
  readonly measuring: Phase;
  readonly together: Phase;
}

/** Announce the work of `calibratePoints` over so many windows. */
export function pointPhases(
  progress: Progress,
  layers: number,
  windows: number,
  window: number,
): PointPhases {
  const measurements = 2 * layers - 1 + budgets.length * calibrationSteps;
  return {
    measuring: progress.phase(measurements * windows, 4 * window),
    together: progress.phase(budgets.length * unionSteps, 16),
  };
}

/** What thresholds are calibrated on. */
export interface Calibration {
  /** Windows whose divergence from dense is measured. */
  readonly tuning: readonly Window[];
  /** Text that tells how much several texts select together. */
  readonly heldOut: Int32Array;
  /** Remembers measured divergences. */
  readonly work: WorkFolder;
  readonly phases: PointPhases;
  readonly signal: AbortSignal | undefined;
}

/** Thresholds for each loss budget that they can keep. */
export async function calibratePoints(
  engine: Engine,
  uncalibrated: PredictorFile,
  gates: readonly Gate[],
  { tuning, heldOut, work, phases, signal }: Calibration,
): Promise<OperatingPoint[]> {
  const meter = await divergenceMeter(engine, uncalibrated, tuning, () => {
    signal?.throwIfAborted();
    phases.measuring.advance('calibrate thresholds');
  });
  const measure: Measure = (choice) => work.loss(nameOf(choice), () => meter(choice));
  const factors = await sensitivities(gates, measure);
  const points: OperatingPoint[] = [];
  for (const budget of budgets) {
    const found = await calibrate(factors, spend * budget, measure, calibrationSteps);
    if (!found) continue;
    const point = pointOf(budget, found.loss, found.choice, engine.description.layers);
    const unions = await measureUnions(engine, uncalibrated, point, heldOut, () => {
      signal?.throwIfAborted();
      phases.together.advance('measure texts together');
    });
    points.push({ ...point, unions });
  }
  return points;
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

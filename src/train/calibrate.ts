import type { Site } from '../selector.ts';
import type { Cut } from './histogram.ts';

/** One predictor whose threshold is to be chosen. */
export interface Gate {
  readonly site: Site;
  readonly layer: number;
  /** Weights that are read when everything is selected, as a share of all gates' weights. */
  readonly cost: number;
  readonly cuts: readonly Cut[];
}

/** One cut a gate. */
export type Choice = ReadonlyMap<Gate, Cut>;

/** Measures the divergence from dense under a choice, in nats a token; gates not in it select all. */
export type Measure = (choice: Choice) => Promise<number>;

/** What one gate's missed contribution costs: loss = sensitivity · missedSquares. */
export type Sensitivities = ReadonlyMap<Gate, number>;

/** Share of squared contribution that is left out when a gate's sensitivity is measured. */
const probeMiss = 0.04;

/**
 * Measure how much the loss grows with what each gate leaves out, one gate at a time.
 *
 * Left-out contributions are nearly orthogonal to one another, so a gate's damage grows with the sum of
 * their squares; one measurement gives the factor. A floor keeps a gate that did no damage at all on
 * this text from being taken for free.
 */
export async function sensitivities(
  gates: readonly Gate[],
  measure: Measure,
): Promise<Sensitivities> {
  const measured: { gate: Gate; factor: number }[] = [];
  for (const gate of gates) {
    const probe = gate.cuts.find(({ missedSquares }) => missedSquares >= probeMiss);
    const loss = probe ? await measure(new Map([[gate, probe]])) : 0;
    measured.push({ gate, factor: probe ? loss / probe.missedSquares : 0 });
  }
  const positive = measured.map(({ factor }) => factor).filter((factor) => factor > 0);
  const floor = positive.length ? median(positive) / 50 : 1;
  return new Map(measured.map(({ gate, factor }) => [gate, Math.max(factor, floor)]));
}

/** The choice that reads least at a price of loss: each gate minimizes cost · density + price · loss. */
export function chooseAt(price: number, factors: Sensitivities): Choice {
  return new Map(
    [...factors].map(([gate, factor]) => {
      const total = (cut: Cut): number =>
        gate.cost * cut.density + price * factor * cut.missedSquares;
      return [gate, gate.cuts.reduce((best, cut) => (total(cut) < total(best) ? cut : best))];
    }),
  );
}

/** Loss measured for the choice at `price`. */
export interface Calibrated {
  readonly choice: Choice;
  readonly loss: number;
}

/**
 * The cheapest choice whose measured loss stays within `budget`: bisection of the price of loss, with a
 * measurement at every step. Undefined where even the dearest price loses more.
 */
export async function calibrate(
  factors: Sensitivities,
  budget: number,
  measure: Measure,
  steps: number,
): Promise<Calibrated | undefined> {
  // Price is per unit of loss; costs sum to 1, so it is at home between 1 and 1e6.
  let [low, high] = [0, 6];
  let best: Calibrated | undefined;
  for (let step = 0; step < steps; step++) {
    const middle = (low + high) / 2;
    const choice = chooseAt(10 ** middle, factors);
    const loss = await measure(choice);
    if (loss <= budget) {
      best = { choice, loss };
      high = middle;
    } else low = middle;
  }
  return best;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

import { type Matrix, type Site, sites } from '../selector.ts';
import type { StepUsage } from './accounts.ts';

/**
 * Shares of neurons and heads that decode steps kept: means over steps, and over layers. Heads: those a
 * row computed. Neurons: those all rows together computed, or, in a layer that computed them all, carried
 * on after their activation.
 */
export interface Density extends Readonly<Record<Site, number>> {
  /** By layer. */
  readonly layers: readonly Readonly<Record<Site, number>>[];
  /**
   * Of each matrix of the blocks, the share of its bytes that a step read: means over steps and layers.
   * Above 1 where a method asks for the truth first, which reads it whole; empty where no decode step ran.
   */
  readonly read: Readonly<Partial<Record<Matrix, number>>>;
}

/**
 * Bytes decode steps read for one token: those of a step divided by its rows, mean over steps. `dense`:
 * weight bytes dense steps of as many rows read.
 */
export interface BytesPerToken {
  /** Of the model. */
  readonly weights: number;
  /** Of predictors, where there are any. */
  readonly predictor: number;
  /** Keys and values. */
  readonly kv: number;
  /** Weights that dense steps would have read. */
  readonly dense: number;
}

/** Sums what decode steps report. */
export class Usage {
  readonly #shares: Readonly<Record<Site, Float64Array>>;
  readonly #read = new Map<Matrix, number>();
  readonly #denseBytes: number;
  readonly #into: Usage | undefined;
  readonly #bytes = { weights: 0, predictor: 0, kv: 0 };
  #dense = 0;
  #steps = 0;
  #tokens = 0;

  /**
   * `denseBytes`: what a dense step of one row reads, or of as many as all steps that are added have. `into`: they are
   * added to it too.
   */
  constructor(layers: number, denseBytes: number, into?: Usage) {
    this.#into = into;
    this.#shares = { neurons: new Float64Array(layers), heads: new Float64Array(layers) };
    this.#denseBytes = denseBytes;
  }

  /** `denseBytes`: what a dense step of as many rows reads, where steps differ in that. */
  add(step: StepUsage, denseBytes = this.#denseBytes): void {
    this.#into?.add(step, denseBytes);
    this.#steps++;
    this.#dense += denseBytes;
    this.#tokens += step.rows;
    for (const site of sites)
      step[site].forEach((share, layer) => (this.#shares[site][layer] += share));
    for (const matrix in step.read) this.#addRead(matrix as Matrix, step.read[matrix as Matrix]!);
    for (const role of ['weights', 'predictor', 'kv'] as const) this.#bytes[role] += step[role];
  }

  /** All 1 where no decode step ran: what ran was dense prefill. */
  density(): Density {
    const { neurons, heads } = this.#shares;
    const steps = Math.max(1, this.#steps);
    const mean = (sum: number): number => (this.#steps ? sum / steps : 1);
    const layers = Array.from(neurons, (_, layer) => ({
      neurons: mean(neurons[layer]),
      heads: mean(heads[layer]),
    }));
    const over = (site: Site): number =>
      layers.reduce((sum, layer) => sum + layer[site], 0) / layers.length;
    const read = [...this.#read].map(([matrix, sum]) => [matrix, sum / steps / layers.length]);
    return {
      neurons: over('neurons'),
      heads: over('heads'),
      layers,
      read: Object.fromEntries(read) as Density['read'],
    };
  }

  #addRead(matrix: Matrix, shares: ArrayLike<number>): void {
    let sum = this.#read.get(matrix) ?? 0;
    for (let layer = 0; layer < shares.length; layer++) sum += shares[layer];
    this.#read.set(matrix, sum);
  }

  /** Means over the tokens of all steps that were added. */
  bytesPerToken(): BytesPerToken {
    const tokens = Math.max(1, this.#tokens);
    const { weights, predictor, kv } = this.#bytes;
    return {
      weights: weights / tokens,
      predictor: predictor / tokens,
      kv: kv / tokens,
      dense: this.#steps ? this.#dense / tokens : this.#denseBytes,
    };
  }
}

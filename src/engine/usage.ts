import type { StepUsage } from './step.ts';

/** Shares of neurons and heads that decode steps computed: means over steps, and over layers. */
export interface Density {
  readonly neurons: number;
  readonly heads: number;
  readonly layers: readonly { readonly neurons: number; readonly heads: number }[];
}

/**
 * Bytes decode steps read for one token: those of a step divided by its rows, mean over steps. `dense`:
 * weight bytes dense steps of as many rows read.
 */
export interface BytesPerToken {
  readonly weights: number;
  readonly predictor: number;
  readonly kv: number;
  readonly dense: number;
}

/** Sums what decode steps report. */
export class Usage {
  readonly #neurons: Float64Array;
  readonly #heads: Float64Array;
  readonly #denseBytes: number;
  readonly #bytes = { weights: 0, predictor: 0, kv: 0 };
  #steps = 0;
  #tokens = 0;

  /** `denseBytes`: what a dense step of as many rows as those added reads. */
  constructor(layers: number, denseBytes: number) {
    this.#neurons = new Float64Array(layers);
    this.#heads = new Float64Array(layers);
    this.#denseBytes = denseBytes;
  }

  add(step: StepUsage): void {
    this.#steps++;
    this.#tokens += step.rows;
    step.neurons.forEach((share, layer) => (this.#neurons[layer] += share));
    step.heads.forEach((share, layer) => (this.#heads[layer] += share));
    for (const role of ['weights', 'predictor', 'kv'] as const) this.#bytes[role] += step[role];
  }

  /** All 1 where no decode step ran: what ran was dense prefill. */
  density(): Density {
    const mean = (sums: Float64Array, layer: number): number =>
      this.#steps ? sums[layer] / this.#steps : 1;
    const layers = Array.from(this.#neurons, (_, layer) => ({
      neurons: mean(this.#neurons, layer),
      heads: mean(this.#heads, layer),
    }));
    const over = (site: 'neurons' | 'heads'): number =>
      layers.reduce((sum, layer) => sum + layer[site], 0) / layers.length;
    return { neurons: over('neurons'), heads: over('heads'), layers };
  }

  bytesPerToken(): BytesPerToken {
    const tokens = Math.max(1, this.#tokens);
    const { weights, predictor, kv } = this.#bytes;
    return {
      weights: weights / tokens,
      predictor: predictor / tokens,
      kv: kv / tokens,
      dense: this.#denseBytes * (this.#steps ? this.#steps / tokens : 1),
    };
  }
}

import type { Backend, Program } from '../backend.ts';
import { encode } from '../ops/encode.ts';
import { linear } from '../ops/linear.ts';
import { linearTransposed } from '../ops/linear-transposed.ts';
import { adam, bceGradient, reluGradient, weightGradient } from '../ops/training.ts';
import { Recorder } from '../program.ts';
import type { DType, Tensor } from '../tensor.ts';

/** Hyperparameters of AdamW; nothing decays. */
const adamW = { beta1: 0.9, beta2: 0.99, eps: 1e-10, decay: 0 } as const;

/** Weight of an inactive unit in the loss; active ones weigh their contribution, mean 1. */
const negativeWeight = 1;

export interface NetShape {
  /** E */
  readonly inputs: number;
  /** r */
  readonly rank: number;
  /** N */
  readonly units: number;
}

/** A low-rank net in f32, as training has it. */
export interface Net {
  /** [r, E] */
  readonly down: Float32Array;
  /** [r] */
  readonly downBias: Float32Array;
  /** [N, r] */
  readonly up: Float32Array;
  /** [N] */
  readonly upBias: Float32Array;
}

interface Tensors {
  /** [B, E] */
  readonly x: Tensor;
  /** [B, N] */
  readonly labels: Tensor;
  /** [3]: learning rate, and what the two moments are divided by. */
  readonly schedule: Tensor;
  readonly weights: Readonly<Record<keyof Net, Tensor>>;
  readonly owned: readonly Tensor[];
}

/**
 * Fits one low-rank net to labels by weighted binary cross-entropy, on the backend: one recorded program
 * holds the forward pass, the gradients and AdamW.
 *
 * Matrices are rounded to the type they will be served in before every forward pass, and gradients go
 * to the f32 originals as if nothing had been rounded (straight-through, arXiv 1308.3432): what is
 * learned is what is served.
 */
export class Fit implements Disposable {
  readonly #backend: Backend;
  readonly #program: Program;
  readonly #tensors: Tensors;
  #step = 0;

  private constructor(backend: Backend, tensors: Tensors, program: Program) {
    this.#backend = backend;
    this.#tensors = tensors;
    this.#program = program;
  }

  /** `rates`: share of examples each unit is active in, for the first guess. `random`: [0, 1). */
  static async record(
    backend: Backend,
    { inputs, rank, units }: NetShape,
    batch: number,
    rates: Float32Array,
    random: () => number,
    served: DType,
  ): Promise<Fit> {
    const owned: Tensor[] = [];
    const allocate = (shape: readonly number[], content?: Float32Array): Tensor => {
      const tensor = backend.allocate('f32', shape, 'state');
      if (content) backend.write(tensor, content);
      owned.push(tensor);
      return tensor;
    };
    const gaussian = (count: number, deviation: number): Float32Array =>
      Float32Array.from({ length: count }, () => deviation * normal(random));
    const prior = rates.map((p) => Math.log(clamp(p) / (1 - clamp(p))));

    const weights = {
      down: allocate([rank, inputs], gaussian(rank * inputs, Math.sqrt(2 / inputs))),
      downBias: allocate([rank]),
      up: allocate([units, rank], gaussian(units * rank, Math.sqrt(1 / rank))),
      upBias: allocate([units], prior),
    };
    const x = allocate([batch, inputs]);
    const labels = allocate([batch, units]);
    const schedule = allocate([3]);

    const g = new Recorder();
    const rounded = {
      down: encode(g, weights.down, served),
      up: encode(g, weights.up, served),
    };
    const inner = linear(g, { x, w: rounded.down, bias: weights.downBias, activation: 'relu' });
    const scores = linear(g, { x: inner, w: rounded.up, bias: weights.upBias });
    const { ds } = bceGradient(g, scores, labels, negativeWeight);
    const dInner = reluGradient(g, linearTransposed(g, { x: ds, w: rounded.up }), inner);
    const up = weightGradient(g, ds, inner);
    const down = weightGradient(g, dInner, x);
    const gradients: Record<keyof Net, Tensor> = {
      down: down.dw,
      downBias: down.dbias,
      up: up.dw,
      upBias: up.dbias,
    };
    for (const key of Object.keys(weights) as (keyof Net)[]) {
      const w = weights[key];
      const [m, v] = [allocate(w.shape), allocate(w.shape)];
      adam(g, { gradient: gradients[key], schedule, w, m, v }, adamW);
    }
    const tensors = { x, labels, schedule, weights, owned };
    return new Fit(backend, tensors, await backend.compile(g.finish()));
  }

  /** One step at a learning rate on x [B, E] and labels [B, N]. */
  async step(x: Float32Array, labels: Float32Array, rate: number): Promise<void> {
    this.#step++;
    const { beta1, beta2 } = adamW;
    this.#backend.write(this.#tensors.x, x);
    this.#backend.write(this.#tensors.labels, labels);
    this.#backend.write(
      this.#tensors.schedule,
      Float32Array.of(rate, 1 / (1 - beta1 ** this.#step), 1 / (1 - beta2 ** this.#step)),
    );
    await this.#backend.run(this.#program);
  }

  async net(): Promise<Net> {
    const { down, downBias, up, upBias } = this.#tensors.weights;
    const found = await this.#backend.read([down, downBias, up, upBias]);
    const [a, b, c, d] = found.map(({ buffer }) => new Float32Array(buffer));
    return { down: a, downBias: b, up: c, upBias: d };
  }

  [Symbol.dispose](): void {
    this.#program.release();
    for (const tensor of this.#tensors.owned) this.#backend.free(tensor);
  }
}

const clamp = (p: number): number => Math.min(Math.max(p, 1e-4), 1 - 1e-4);

/** A standard normal number (Box and Muller). */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

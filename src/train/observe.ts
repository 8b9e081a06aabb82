import type { Backend, Program } from '../backend.ts';
import { createCache } from '../kv/cache.ts';
import { full } from '../kv/full.ts';
import { unmoved } from '../kv/parts/layout.ts';
import { Recorder } from '../program.ts';
import type { Site } from '../selector.ts';
import type { Sparsity } from '../sparsity.ts';
import type { Tensor } from '../tensor.ts';
import { cacheShape, type Model } from '../engine/step.ts';

/** What one run of T rows showed of one layer. */
export interface Observation {
  /** Attention input, [T, E]: what the predictors will be fed when they serve. */
  readonly x: Float32Array;
  /** Contribution of each neuron, [T, F]; 0 where the activation is exactly zero. */
  readonly neurons: Float32Array;
  /** Contribution of each head of the next block, [T, H]; absent for the last block. */
  readonly nextHeads: Float32Array | undefined;
}

/** Runs the dense model over text and shows what predictors are trained on. */
export class Observer implements Disposable {
  readonly rows: number;
  readonly layers: number;
  readonly #backend: Backend;
  readonly #tokens: Tensor;
  readonly #positions: Tensor;
  readonly #program: Program;
  readonly #inputs: readonly Tensor[];
  readonly #truths: Readonly<Record<Site, readonly Tensor[]>>;
  readonly #release: () => void;

  /** `rows` are observed at a time; windows of `window` tokens each start an empty context. */
  constructor(backend: Backend, model: Model, rows: number, window: number) {
    const { layers } = model.description;
    const cache = createCache(backend, full, cacheShape(model.description, window));
    const [tokens, positions, sequences] = [0, 1, 2].map(() =>
      backend.allocate('i32', [rows], 'state'),
    );
    const g = new Recorder();
    const inputs: Tensor[] = [];
    const truths: Record<Site, Tensor[]> = { heads: [], neurons: [] };
    const watch: Sparsity = {
      name: 'observer',
      begin: () => ({
        select(site, layer, x, truth) {
          if (site === 'heads') inputs[layer] = g.keep(x);
          truths[site][layer] = g.keep(truth());
          return 'all';
        },
      }),
    };
    const stepRows = { sequences, positions };
    model.family.forward(g, model.config, model.weights, {
      tokens,
      positions,
      cache: cache.begin(g, unmoved(stepRows)),
      sparsity: watch.begin(g, stepRows),
      logits: 'last',
    });
    if (inputs.length !== layers) throw new Error('a block did not ask for its heads');
    this.rows = rows;
    this.layers = layers;
    this.#backend = backend;
    this.#tokens = tokens;
    this.#positions = positions;
    this.#inputs = inputs;
    this.#truths = truths;
    this.#program = backend.compile(g.finish());
    this.#release = () => {
      this.#program.release();
      cache[Symbol.dispose]();
      [tokens, positions, sequences].forEach((tensor) => backend.free(tensor));
    };
  }

  /** Observe `rows` tokens that begin at `position` of the current window. */
  async run(ids: Int32Array, position: number): Promise<void> {
    this.#backend.write(this.#tokens, ids);
    this.#backend.write(
      this.#positions,
      ids.map((_, t) => position + t),
    );
    await this.#backend.run(this.#program);
  }

  /** What the latest run showed of a layer. */
  async layer(layer: number): Promise<Observation> {
    const read = async (tensor: Tensor): Promise<Float32Array> =>
      new Float32Array((await this.#backend.read(tensor, this.#program)).buffer);
    const next = this.#truths.heads[layer + 1] as Tensor | undefined;
    return {
      x: await read(this.#inputs[layer]),
      neurons: await read(this.#truths.neurons[layer]),
      nextHeads: next && (await read(next)),
    };
  }

  [Symbol.dispose](): void {
    this.#release();
  }
}

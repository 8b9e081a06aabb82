import type { Backend, Program } from '../backend.ts';
import { cacheShape, createCache } from '../kv/cache.ts';
import { full } from '../kv/full.ts';
import { unmoved } from '../kv/parts/layout.ts';
import { Recorder } from '../program.ts';
import type { Site } from '../selector.ts';
import type { Sparsity } from '../sparsity.ts';
import type { Tensor } from '../tensor.ts';
import { type Model } from '../engine/step.ts';

/** What one run of T rows showed of one layer. */
export interface Observation {
  /** Attention input, [T, E]: what the predictors will be fed when they serve. */
  readonly x: Float32Array;
  /** Contribution of each neuron, [T, F]; 0 where the activation is exactly zero. */
  readonly neurons: Float32Array;
  /** Contribution of each head of the next block, [T, H]; absent for the last block. */
  readonly nextHeads: Float32Array | undefined;
}

/** What the observer records: inputs of a step, and tensors that show what it did. */
interface Watched {
  /** i32 [T] */
  readonly tokens: Tensor;
  /** i32 [T] */
  readonly positions: Tensor;
  /** By layer. */
  readonly inputs: readonly Tensor[];
  readonly truths: Readonly<Record<Site, readonly Tensor[]>>;
  readonly release: () => void;
}

/** Runs the dense model over text and shows what predictors are trained on. */
export class Observer implements Disposable {
  readonly rows: number;
  readonly layers: number;
  readonly #backend: Backend;
  readonly #watched: Watched;
  readonly #program: Program;

  private constructor(backend: Backend, watched: Watched, program: Program) {
    this.rows = watched.tokens.shape[0];
    this.layers = watched.inputs.length;
    this.#backend = backend;
    this.#watched = watched;
    this.#program = program;
  }

  /** `rows` are observed at a time; windows of `window` tokens each start an empty context. */
  static async record(
    backend: Backend,
    model: Model,
    rows: number,
    window: number,
  ): Promise<Observer> {
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
    const release = (): void => {
      cache[Symbol.dispose]();
      [tokens, positions, sequences].forEach((tensor) => backend.free(tensor));
    };
    const watched = { tokens, positions, inputs, truths, release };
    return new Observer(backend, watched, await backend.compile(g.finish()));
  }

  /** Observe `rows` tokens that begin at `position` of the current window. */
  async run(ids: Int32Array, position: number): Promise<void> {
    const { tokens, positions } = this.#watched;
    this.#backend.write(tokens, ids);
    this.#backend.write(
      positions,
      ids.map((_, t) => position + t),
    );
    await this.#backend.run(this.#program);
  }

  /** What the latest run showed of a layer. */
  async layer(layer: number): Promise<Observation> {
    const { inputs, truths } = this.#watched;
    const shown = [
      inputs[layer],
      truths.neurons[layer],
      ...truths.heads.slice(layer + 1, layer + 2),
    ];
    const [x, neurons, nextHeads] = (await this.#backend.read(shown, this.#program)).map(
      ({ buffer }) => new Float32Array(buffer),
    );
    return { x, neurons, nextHeads };
  }

  [Symbol.dispose](): void {
    this.#program.release();
    this.#watched.release();
  }
}

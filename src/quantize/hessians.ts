import type { Backend } from '../backend.ts';
import type { Model } from '../engine/step.ts';
import { addOp } from '../ops/elementwise.ts';
import { weightGradient } from '../ops/training.ts';
import { baseOf, type Tensor } from '../tensor.ts';
import type { Calibration } from './text.ts';
import { recordDense } from './uses.ts';

/** Bytes of Hessians that are gathered in one pass over the text. */
const passBytes = 2 ** 31;

/**
 * XᵀX of what each matrix multiplies, over a text: the Hessian of its squared output error.
 *
 * Inputs are those of the dense model as it was, not of one whose earlier layers are quantized already.
 * Hessians are large, so they are gathered for a few layers at a time, in the order of `names`; each pass
 * runs the model over the whole text again, which costs less than their products.
 */
export class Hessians implements Disposable {
  readonly #backend: Backend;
  readonly #model: Model;
  readonly #names: readonly string[];
  readonly #text: Calibration;
  readonly #signal: AbortSignal | undefined;
  /** f32 [N, N] by name; matrices with the same input share one. */
  #gathered = new Map<string, Tensor>();

  constructor(
    backend: Backend,
    model: Model,
    names: readonly string[],
    text: Calibration,
    signal: AbortSignal | undefined,
  ) {
    this.#backend = backend;
    this.#model = model;
    this.#names = names;
    this.#text = text;
    this.#signal = signal;
  }

  /** The Hessian of one of the names, f32 [N, N]; lives until one is asked for that is not gathered. */
  async of(name: string): Promise<Tensor> {
    if (!this.#gathered.has(name)) await this.#gather(name);
    return this.#gathered.get(name)!;
  }

  async #gather(first: string): Promise<void> {
    this[Symbol.dispose]();
    const backend = this.#backend;
    using step = recordDense(backend, this.#model, this.#text.length);
    const { g, tokens, uses } = step;
    const byInput = new Map<Tensor, Tensor>();
    let bytes = 0;
    for (const name of this.#names.slice(this.#names.indexOf(first))) {
      const x = uses.get(name)!.x;
      let sum = byInput.get(baseOf(x));
      if (!sum) {
        const N = x.shape[1];
        bytes += 4 * N * N;
        if (bytes > passBytes && byInput.size > 0) break;
        sum = backend.allocate('f32', [N, N], 'state');
        byInput.set(baseOf(x), sum);
        const { dw } = weightGradient(g, x, x);
        g.record(addOp, { a: sum, b: dw, y: sum }, {});
      }
      this.#gathered.set(name, sum);
    }
    const program = await backend.compile(g.finish());
    for (const window of this.#text.windows) {
      this.#signal?.throwIfAborted();
      backend.write(tokens, window);
      await backend.run(program);
    }
    program.release();
  }

  [Symbol.dispose](): void {
    for (const sum of new Set(this.#gathered.values())) this.#backend.free(sum);
    this.#gathered.clear();
  }
}

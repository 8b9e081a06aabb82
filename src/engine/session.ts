import type { Backend } from '../backend.ts';
import type { Cache } from '../kv.ts';
import type { Sparsity } from '../sparsity.ts';
import type { StepUsage } from './accounts.ts';
import { Batch, type BatchSetup, rowsOf } from './batch.ts';
import type { Model, StepProgram, StepOptions } from './step.ts';

/**
 * One text under way: a batch of one, which its method always decides for.
 *
 * Prefill is dense, in chunks; decode asks the method. One call at a time.
 */
export class Session implements Disposable {
  readonly #batch: Batch;
  readonly #method: Sparsity;
  readonly #text: number;

  constructor(
    backend: Backend,
    model: Model,
    options: Omit<BatchSetup, 'sequences' | 'breakEven'>,
  ) {
    this.#batch = new Batch(backend, model, { ...options, sequences: 1 });
    this.#text = this.#batch.admit();
    this.#method = options.method;
  }

  get cache(): Cache {
    return this.#batch.cache;
  }

  /** Tokens of the text. */
  get length(): number {
    return this.#batch.length(this.#text);
  }

  /** Those of them that are in the cache. */
  get kept(): number {
    return this.#batch.kept(this.#text);
  }

  /** Where in the text the tokens are that a KV head of a layer keeps, ascending. */
  keptPositions(layer: number, head: number): Promise<number[]> {
    return this.cache.positions(layer, head, this.#text, this.length, this.kept);
  }

  /** Forget what comes after the first `length` tokens; returns how many there are now (`Batch.truncate`). */
  truncate(length: number): number {
    return this.#batch.truncate(this.#text, length);
  }

  /** Add tokens by dense prefill; returns logits [V] after the last one. */
  prefill(ids: Int32Array, signal?: AbortSignal): Promise<Float32Array> {
    return this.#batch.prefill(this.#text, ids, signal);
  }

  /** Add tokens by dense prefill; returns the loss of each row against its target [T], in nats. */
  async score(ids: Int32Array, targets: Int32Array): Promise<Float32Array> {
    const losses = new Float32Array(ids.length);
    let done = 0;
    for (const chunk of this.#batch.chunks(this.#text, ids)) {
      const step = await this.#batch.extend(
        rowsOf(this.#text, chunk),
        { logits: 'all', measure: 'loss' },
        { expected: targets.subarray(done, done + chunk.length) },
      );
      losses.set(await step.measured(), done);
      done += chunk.length;
    }
    return losses;
  }

  /** Hidden states and logits of dense prefill, all rows in one run. */
  async inspect(ids: Int32Array): Promise<{ hidden: Float32Array[]; logits: Float32Array }> {
    const step = await this.#batch.extend(rowsOf(this.#text, ids), {
      logits: 'all',
      hidden: true,
    });
    return { hidden: await step.hidden(), logits: await step.logits() };
  }

  /** Add one token through the method; returns logits [V] after it. */
  decode(id: number): Promise<Float32Array> {
    return this.#batch.decode([this.#text], [id]);
  }

  /** Add one token through the method; returns the loss of `target` after it, in nats. */
  async scoreDecode(id: number, target: number): Promise<number> {
    const step = await this.#measure('loss', id, Int32Array.of(target));
    return (await step.measured())[0];
  }

  /** Add one token through the method; returns KL(dense ‖ this) for the dense logits [V], in nats. */
  async compareDecode(id: number, denseLogits: Float32Array): Promise<number> {
    const step = await this.#measure('divergence', id, denseLogits);
    return (await step.measured())[0];
  }

  /** What the latest decode step read and computed. */
  usage(): Promise<StepUsage> {
    return this.#batch.usage();
  }

  /** Weight bytes a dense decode step reads. */
  denseBytes(): number {
    return this.#batch.denseBytes(1);
  }

  [Symbol.dispose](): void {
    this.#batch[Symbol.dispose]();
  }

  #measure(
    measure: NonNullable<StepOptions['measure']>,
    id: number,
    expected: Int32Array | Float32Array,
  ): Promise<StepProgram> {
    return this.#batch.extend(
      rowsOf(this.#text, Int32Array.of(id)),
      { logits: 'all', measure },
      { method: this.#method, expected },
    );
  }
}

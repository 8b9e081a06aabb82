import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import type { Cache, KVPolicy } from '../kv.ts';
import { type CacheShape, createCache } from '../kv/cache.ts';
import type { Sparsity } from '../sparsity.ts';
import { dense } from '../sparsity/dense.ts';
import { denseBytes, type Model, StepProgram, type StepOptions, type StepUsage } from './step.ts';

/** Rows of one prefill run; a longer prompt takes several. */
const chunkRows = 128;

/** Recorded programs kept for reuse: decode, full chunks, and the latest odd chunk lengths. */
const keptPrograms = 6;

/**
 * One text under way: its cache, how many tokens are in it, and the recorded steps that extend it.
 *
 * Prefill is dense, in chunks; decode asks the method. One call at a time.
 */
export class Session implements Disposable {
  readonly cache: Cache;
  readonly #backend: Backend;
  readonly #model: Model;
  readonly #method: Sparsity;
  readonly #release: () => void;
  readonly #programs = new Map<string, StepProgram>();
  #decode: StepProgram | undefined;
  #length = 0;

  constructor(
    backend: Backend,
    model: Model,
    options: { method: Sparsity; policy: KVPolicy; capacity: number },
  ) {
    const cache = createCache(
      backend,
      options.policy,
      cacheShape(model.description, options.capacity),
    );
    this.cache = cache;
    this.#release = () => cache[Symbol.dispose]();
    this.#backend = backend;
    this.#model = model;
    this.#method = options.method;
  }

  /** Tokens in the cache. */
  get length(): number {
    return this.#length;
  }

  /** Forget everything after the first `length` tokens. */
  truncate(length: number): void {
    this.#length = Math.min(this.#length, length);
  }

  /** Add tokens by dense prefill; returns logits [V] after the last one. */
  async prefill(ids: Int32Array, signal?: AbortSignal): Promise<Float32Array> {
    let step: StepProgram | undefined;
    for (const chunk of this.#chunks(ids)) {
      signal?.throwIfAborted();
      step = this.#program('prefill', { rows: chunk.length, logits: 'last' });
      await this.#run(step, chunk);
    }
    return step!.logits();
  }

  /** Add tokens by dense prefill; returns the loss of each row against its target [T], in nats. */
  async score(ids: Int32Array, targets: Int32Array): Promise<Float32Array> {
    const losses = new Float32Array(ids.length);
    let done = 0;
    for (const chunk of this.#chunks(ids)) {
      const step = this.#program('score', { rows: chunk.length, logits: 'all', measure: 'loss' });
      await this.#run(step, chunk, targets.subarray(done, done + chunk.length));
      losses.set(await step.measured(), done);
      done += chunk.length;
    }
    return losses;
  }

  /** Hidden states and logits of dense prefill, all rows in one run. */
  async inspect(ids: Int32Array): Promise<{ hidden: Float32Array[]; logits: Float32Array }> {
    const step = this.#program('inspect', { rows: ids.length, logits: 'all', hidden: true });
    await this.#run(step, ids);
    return { hidden: await step.hidden(), logits: await step.logits() };
  }

  /** Add one token through the method; returns logits [V] after it. */
  async decode(id: number): Promise<Float32Array> {
    this.#decode = this.#program('decode', { rows: 1, logits: 'last' }, this.#method);
    await this.#run(this.#decode, Int32Array.of(id));
    return this.#decode.logits();
  }

  /** Add one token through the method; returns the loss of `target` after it, in nats. */
  async scoreDecode(id: number, target: number): Promise<number> {
    this.#decode = this.#program(
      'scoreDecode',
      { rows: 1, logits: 'all', measure: 'loss' },
      this.#method,
    );
    await this.#run(this.#decode, Int32Array.of(id), Int32Array.of(target));
    return (await this.#decode.measured())[0];
  }

  /** Add one token through the method; returns KL(dense ‖ this) for the dense logits [V], in nats. */
  async compareDecode(id: number, denseLogits: Float32Array): Promise<number> {
    const options = { rows: 1, logits: 'all', measure: 'divergence' } as const;
    this.#decode = this.#program('compareDecode', options, this.#method);
    await this.#run(this.#decode, Int32Array.of(id), denseLogits);
    return (await this.#decode.measured())[0];
  }

  /** What the latest decode step read and computed. */
  usage(): Promise<StepUsage> {
    if (!this.#decode) throw new EngineError('INTERNAL', 'no decode step has run');
    return this.#decode.usage();
  }

  /** Weight bytes a dense decode step reads. */
  denseBytes(): number {
    const inputs = this.#backend.allocate('i32', [1], 'state');
    const bytes = denseBytes(this.#model, this.cache, inputs, dense);
    this.#backend.free(inputs);
    return bytes;
  }

  [Symbol.dispose](): void {
    for (const program of this.#programs.values()) program[Symbol.dispose]();
    this.#release();
  }

  *#chunks(ids: Int32Array): Generator<Int32Array> {
    const end = this.#length + ids.length;
    if (end > this.cache.capacity)
      throw new EngineError(
        'PROMPT_TOO_LONG',
        `session: ${end} tokens do not fit the context of ${this.cache.capacity}; shorten the prompt or raise --context`,
      );
    for (let start = 0; start < ids.length; start += chunkRows)
      yield ids.subarray(start, Math.min(start + chunkRows, ids.length));
  }

  async #run(
    step: StepProgram,
    tokens: Int32Array,
    expected?: Int32Array | Float32Array,
  ): Promise<void> {
    if (this.#length + tokens.length > this.cache.capacity)
      throw new EngineError(
        'PROMPT_TOO_LONG',
        `session: the context of ${this.cache.capacity} tokens is full`,
      );
    const positions = tokens.map((_, i) => this.#length + i);
    await step.run({ tokens, positions, ...(expected && { expected }) });
    this.#length += tokens.length;
  }

  /** The recorded step of this kind and length, recording it when it is new. */
  #program(kind: string, options: StepOptions, method = dense): StepProgram {
    const key = `${kind} ${options.rows}`;
    const known = this.#programs.get(key);
    this.#programs.delete(key);
    const step = known ?? new StepProgram(this.#backend, this.#model, this.cache, method, options);
    this.#programs.set(key, step);
    const [oldest] = this.#programs.keys();
    if (this.#programs.size > keptPrograms) {
      this.#programs.get(oldest)![Symbol.dispose]();
      this.#programs.delete(oldest);
    }
    return step;
  }
}

/** The cache one text of up to `capacity` tokens needs. */
export const cacheShape = (description: Model['description'], capacity: number): CacheShape => ({
  layers: description.layers,
  kvHeads: description.kvHeads,
  headDim: description.headDim,
  sequences: 1,
  capacity,
});

import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import type { Cache } from '../cache.ts';
import type { KVPolicy } from '../kv.ts';
import type { Sparsity } from '../sparsity.ts';
import type { StepUsage } from './accounts.ts';
import { describe, type LogProbability } from './log-probability.ts';
import type { Model, StepProgram } from './step.ts';
import { type Ask, rowsOf, type TextsSetup } from './steps.ts';
import { over, Texts } from './texts.ts';
import type { Usage } from './usage.ts';

/** Logits of one prefill run that are read back together, at most. */
const readLogits = 2 ** 24;

/** What one decode step asks for. */
export interface DecodeOptions {
  /** What the step asks. Default: the text's method. */
  readonly method?: Sparsity;
  /** What the step read and computed is added to it. */
  readonly usage?: Usage;
}

/**
 * One text of a batch, or of a cache of its own.
 *
 *     using session = engine.session();
 *     let logits = await session.prefill(engine.encode('The sea'));
 *     while (session.length < session.capacity) logits = await session.decode(argmax(logits));
 *
 * Prefill is dense, in chunks; decode asks the method. Calls are queued: they run in the order they are made,
 * beside those of other texts (`Batch`). After its end they throw `DISPOSED`.
 */
export class Session implements Disposable {
  /** What its decode steps ask. */
  readonly method: Sparsity;
  readonly #texts: Texts;
  readonly #text: number;
  readonly #end: (text: number) => void;
  /** Length and tokens kept of a text that is over. */
  #last: { readonly length: number; readonly kept: number } | undefined;

  /** Takes a place; `end` gives it back. */
  constructor(texts: Texts, options: { method: Sparsity; end: (text: number) => void }) {
    this.method = options.method;
    this.#texts = texts;
    this.#end = options.end;
    this.#text = texts.admit();
  }

  /** Keys and values of the batch that it is a text of. */
  get cache(): Cache {
    return this.#texts.cache;
  }

  /** Tokens it may have. */
  get capacity(): number {
    return this.#texts.capacity;
  }

  /** Tokens of the text; after its end, as many as it had. */
  get length(): number {
    return this.#last?.length ?? this.#texts.length(this.#text);
  }

  /** Those of them that are in the cache. */
  get kept(): number {
    return this.#last?.kept ?? this.#texts.kept(this.#text);
  }

  /** Its ids. */
  get ids(): readonly number[] {
    return this.#open().ids(this.#text);
  }

  /** Where in the text the tokens are that a KV head of a layer keeps, ascending. */
  keptPositions(layer: number, head: number): Promise<number[]> {
    this.#open();
    return this.cache.positions(
      layer,
      head,
      this.#text,
      this.length,
      this.#texts.keptByGroup(this.#text),
    );
  }

  /**
   * Forget what comes after the first `length` tokens; returns how many there are now (`Batch.truncate`).
   * Throws `BAD_REQUEST` while a call is under way.
   */
  truncate(length: number): number {
    return this.#open().truncate(this.#text, length);
  }

  /** How many ids it has in common with these from their beginning. */
  common(ids: ArrayLike<number>): number {
    const own = this.ids;
    const most = Math.min(own.length, ids.length);
    let common = 0;
    while (common < most && own[common] === ids[common]) common++;
    return common;
  }

  /**
   * Cut it back to what it has in common with these ids, so that only the others need be added; returns how many
   * it has. At least one is left to add, for its logits. None are common where what was evicted since would be
   * missed.
   */
  reuse(ids: ArrayLike<number>): number {
    return this.truncate(Math.min(this.common(ids), ids.length - 1));
  }

  /** Add tokens by dense prefill; returns logits [V] after the last one. Throws `PROMPT_TOO_LONG`. */
  async prefill(ids: Int32Array, signal?: AbortSignal): Promise<Float32Array> {
    return this.#open().prefill(this.#text, ids, signal);
  }

  /** Add tokens by dense prefill; returns the loss of each row against its target [T], in nats. */
  async score(ids: Int32Array, targets: Int32Array): Promise<Float32Array> {
    if (targets.length !== ids.length)
      throw new EngineError(
        'BAD_REQUEST',
        `score: ${targets.length} targets for ${ids.length} ids, expected one each`,
      );
    const losses = new Float32Array(ids.length);
    const ask = { logits: 'all', measure: 'loss', expected: targets } as const;
    await this.#open().inChunks(this.#text, ids, ask, async (step, start) =>
      losses.set(await step.measured(), start),
    );
    return losses;
  }

  /**
   * Add tokens by dense prefill; returns how likely each id after the first was, with `count` alternatives, and
   * logits [V] after the last one. What is read back at once is bounded, whatever the prompt's length.
   */
  async prefillWithLogprobs(
    ids: Int32Array,
    count: number,
    signal?: AbortSignal,
  ): Promise<{ logprobs: LogProbability[]; logits: Float32Array }> {
    const texts = this.#open();
    const logprobs: LogProbability[] = [];
    const { vocabulary } = texts;
    let logits: Float32Array;
    const rows = Math.max(8, Math.min(256, Math.floor(readLogits / vocabulary)));
    await texts.inChunks(this.#text, ids, { logits: 'all', rows, signal }, async (step, start) => {
      const all = await step.logits();
      for (let at = 0; at < all.length; at += vocabulary) {
        logits = all.subarray(at, at + vocabulary);
        const next = start + at / vocabulary + 1;
        if (next < ids.length) logprobs.push(describe(logits, ids[next], count));
      }
    });
    return { logprobs, logits: logits!.slice() };
  }

  /** Hidden states and logits of dense prefill, all rows in one run. */
  async inspect(ids: Int32Array): Promise<{ hidden: Float32Array[]; logits: Float32Array }> {
    const ask = { logits: 'all', hidden: true } as const;
    return this.#open().extend(rowsOf(this.#text, ids), ask, async (step) => ({
      hidden: await step.hidden(),
      logits: await step.logits(),
    }));
  }

  /** Add one token through the method; returns logits [V] after it. Throws `PROMPT_TOO_LONG`. */
  async decode(
    id: number,
    { method = this.method, usage }: DecodeOptions = {},
  ): Promise<Float32Array> {
    return this.#open().next(this.#text, id, method, usage);
  }

  /** Add one token through the method; returns the loss of `target` after it, in nats. */
  async scoreDecode(id: number, target: number): Promise<number> {
    return this.#measure('loss', id, Int32Array.of(target));
  }

  /** Add one token through the method; returns KL(dense ‖ this) for the dense logits [V], in nats. */
  async compareDecode(id: number, denseLogits: Float32Array): Promise<number> {
    return this.#measure('divergence', id, denseLogits);
  }

  /**
   * What its latest decode step read and computed, other texts' rows included. Throws `BAD_REQUEST` where a like
   * step of others ran since: then ask with the step, by the `usage` of `decode`.
   */
  async usage(): Promise<StepUsage> {
    return this.#open().usage(this.#text);
  }

  /** Weight bytes a dense decode step reads. */
  denseBytes(): number {
    return this.#open().denseBytes(1);
  }

  /** End it: what waits is rejected with `DISPOSED`, its place is free when what runs has run. */
  [Symbol.dispose](): void {
    if (this.#last) return;
    this.#last = { length: this.length, kept: this.kept };
    this.#end(this.#text);
  }

  #open(): Texts {
    if (this.#last) throw over('session', 'it was disposed of');
    return this.#texts;
  }

  async #measure(
    measure: NonNullable<Ask['measure']>,
    id: number,
    expected: Int32Array | Float32Array,
  ): Promise<number> {
    const ask = { logits: 'all', measure, expected, method: this.method } as const;
    const read = (step: StepProgram): Promise<Float32Array> => step.measured();
    return (await this.#open().extend(rowsOf(this.#text, Int32Array.of(id)), ask, read))[0];
  }
}

/** A text in a cache of its own, which ends with it. */
export function openSession(
  backend: Backend,
  model: Model,
  setup: Omit<TextsSetup, 'sequences' | 'breakEven'>,
): Session {
  const texts = new Texts(backend, model, { ...setup, sequences: 1 });
  return new Session(texts, { method: setup.method, end: () => texts[Symbol.dispose]() });
}

/** Throws `BAD_REQUEST` where a cache keeps something else than is asked for. */
export function expectPolicy(kept: KVPolicy, asked: KVPolicy): void {
  if (same(kept, asked)) return;
  throw new EngineError(
    'BAD_REQUEST',
    `text: it asks for the KV policy ${asked.name} in a cache that is kept by ${kept.name}, expected the same with the same budget; one cache has one policy: use a batch or a session of its own`,
  );
}

/** Policies are data. */
const same = (a: unknown, b: unknown): boolean =>
  Object.is(a, b) ||
  (typeof a === 'object' &&
    typeof b === 'object' &&
    a !== null &&
    b !== null &&
    Object.keys({ ...a, ...b }).every((key) =>
      same(a[key as keyof typeof a], b[key as keyof typeof b]),
    ));

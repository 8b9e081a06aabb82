import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import type { Cache, KVPolicy } from '../kv.ts';
import { createCache } from '../kv/cache.ts';
import type { CacheType } from '../ops/attention.ts';
import type { Sparsity } from '../sparsity.ts';
import { dense } from '../sparsity/dense.ts';
import { denseBytes, type StepUsage } from './accounts.ts';
import type { BreakEven } from './break-even.ts';
import { type ProgramBounds, Programs, type Recipe } from './programs.ts';
import { cacheShape, type Model, type StepOptions, StepProgram, type StepRun } from './step.ts';
import type { StepTimes } from './step-times.ts';

/** Rows of one prefill run, at most; a longer prompt takes several. */
const chunkRows = 256;

export interface BatchSetup {
  /** What decode steps ask. */
  readonly method: Sparsity;
  readonly policy: KVPolicy;
  /** Tokens one text may have. */
  readonly capacity: number;
  /** B: texts there is room for. */
  readonly sequences: number;
  /** Decides what steps of several rows compute in full. Absent: the method is always asked. */
  readonly breakEven?: BreakEven;
  /** Heads whose keys and values steps of one text compute; default those chosen, the others later. */
  readonly keys?: StepOptions['keys'];
  /** Type of keys and values in the cache. Default f32. */
  readonly cacheType?: CacheType;
  /** How many recorded steps stay. Default: a quarter GiB of scratch, and eight at least. */
  readonly programs?: ProgramBounds;
}

/** One row a token: what it is, and the text it extends. */
export interface Rows {
  readonly tokens: Int32Array;
  readonly sequences: Int32Array;
}

/**
 * Texts under way that are decoded together: their cache, how many tokens each has, and the recorded
 * steps that extend them.
 *
 * Texts come and go at any time, each with its own length: a step takes any of them, in any order, and
 * is recorded once for each number of rows. Prefill is dense, one text at a time, in chunks. A decode
 * step gives each text the logits it would have alone, but for the sparsity method: rows share their
 * neurons, so each is computed with at least what it chose. One call at a time.
 */
export class Batch implements Disposable {
  readonly cache: Cache;
  readonly #backend: Backend;
  readonly #model: Model;
  readonly #method: Sparsity;
  readonly #breakEven: BreakEven | undefined;
  readonly #release: () => void;
  readonly #lengths: Int32Array;
  /** Tokens of each text that are in the cache. */
  readonly #kept: Int32Array;
  readonly #admitted = new Set<number>();
  readonly #keys: StepOptions['keys'];
  readonly #capacity: number;
  /** Tokens of each text that have keys and values of all heads; the step that left out what others lack. */
  readonly #complete: Int32Array;
  readonly #leftOut = new Map<number, StepProgram>();
  readonly #programs: Programs;
  #decode: StepProgram | undefined;

  constructor(backend: Backend, model: Model, setup: BatchSetup) {
    const { sequences, capacity } = setup;
    const shape = cacheShape(model.description, capacity, sequences, setup.cacheType);
    const cache = createCache(backend, setup.policy, shape);
    this.cache = cache;
    this.#release = () => cache[Symbol.dispose]();
    this.#backend = backend;
    this.#model = model;
    this.#method = setup.method;
    this.#breakEven = setup.breakEven;
    this.#keys = setup.keys;
    this.#lengths = new Int32Array(sequences);
    this.#kept = new Int32Array(sequences);
    this.#complete = new Int32Array(sequences);
    this.#capacity = capacity;
    this.#programs = new Programs(
      (recipe) => this.#record(recipe),
      async (step) => {
        for (const [text, by] of this.#leftOut) if (by === step) await this.#settle(text);
      },
      setup.programs,
    );
  }

  /** Texts there is room for. */
  get sequences(): number {
    return this.#lengths.length;
  }

  /** Texts that may still be admitted. */
  get free(): number {
    return this.sequences - this.#admitted.size;
  }

  /** Begin an empty text; returns the number it goes by until it is released. */
  admit(): number {
    for (let sequence = 0; sequence < this.sequences; sequence++)
      if (!this.#admitted.has(sequence)) {
        this.#admitted.add(sequence);
        this.#lengths[sequence] = this.#kept[sequence] = this.#complete[sequence] = 0;
        return sequence;
      }
    throw new EngineError(
      'BAD_REQUEST',
      `batch: all ${this.sequences} texts are under way, expected a free place; release one first`,
    );
  }

  /** End a text; its place is free for another. */
  release(sequence: number): void {
    this.#expectAdmitted(sequence);
    this.#admitted.delete(sequence);
  }

  /** Tokens a text has. */
  length(sequence: number): number {
    this.#expectAdmitted(sequence);
    return this.#lengths[sequence];
  }

  /** Those of them that are in the cache. */
  kept(sequence: number): number {
    this.#expectAdmitted(sequence);
    return this.#kept[sequence];
  }

  /**
   * Forget what comes after the first `length` tokens of a text; returns how many it has now. Where what was
   * evicted, or scored, since would be missed, these are none: add them again.
   */
  truncate(sequence: number, length: number): number {
    const before = this.length(sequence);
    if (length >= before) return before;
    const left = this.cache.layout.cut(before, length);
    this.#lengths[sequence] = left;
    this.#kept[sequence] = this.cache.layout.after(0, 0, left);
    this.#complete[sequence] = Math.min(this.#complete[sequence], left);
    return left;
  }

  /**
   * Give a text `length` tokens with random keys and values in place of what it has, as many of them in the
   * cache as the policy keeps: to measure speed where a prefill would take too long.
   */
  fill(sequence: number, length: number, random: () => number): void {
    this.truncate(sequence, 0);
    this.#expectRoom(sequence, length);
    const kept = this.cache.layout.after(0, 0, length);
    this.cache.fill(sequence, length, kept, random);
    this.#lengths[sequence] = this.#complete[sequence] = length;
    this.#kept[sequence] = kept;
  }

  /** Add tokens to one text by dense prefill; returns logits [V] after the last one. */
  async prefill(sequence: number, ids: Int32Array, signal?: AbortSignal): Promise<Float32Array> {
    let step: StepProgram | undefined;
    for (const tokens of this.chunks(sequence, ids)) {
      signal?.throwIfAborted();
      step = await this.extend(rowsOf(sequence, tokens), { logits: 'last' });
    }
    return step!.logits();
  }

  /**
   * Add one token to each of n texts through the method, the batch's own unless told otherwise; returns
   * logits [n, V], in the order of the ids.
   */
  async decode(
    sequences: ArrayLike<number>,
    ids: ArrayLike<number>,
    method = this.#method,
  ): Promise<Float32Array> {
    const step = await this.#decodeStep(sequences, ids, { method });
    return step.logits();
  }

  /** Where the time of such a step goes; undefined where the backend cannot tell. */
  async timeDecode(
    sequences: ArrayLike<number>,
    ids: ArrayLike<number>,
    method = this.#method,
  ): Promise<StepTimes | undefined> {
    const step = await this.#decodeStep(sequences, ids, { method, timed: true });
    return step.times;
  }

  /** What the latest decode step read and computed. */
  usage(): Promise<StepUsage> {
    if (!this.#decode) throw new EngineError('INTERNAL', 'no decode step has run');
    return this.#decode.usage();
  }

  /** Weight bytes a dense decode step of `rows` rows reads. */
  denseBytes(rows: number): number {
    const inputs = this.#backend.allocate('i32', [rows], 'state');
    const bytes = denseBytes(this.#model, this.cache, inputs);
    this.#backend.free(inputs);
    return bytes;
  }

  [Symbol.dispose](): void {
    this.#programs[Symbol.dispose]();
    this.#release();
  }

  /** Ids that extend one text, as many at a time as one prefill run takes; run each before the next. */
  *chunks(sequence: number, ids: Int32Array): Generator<Int32Array> {
    this.#expectRoom(sequence, ids.length);
    for (let start = 0, end = 0; start < ids.length; start = end) {
      const room = this.cache.layout.room(this.#lengths[sequence], this.#kept[sequence]);
      end = Math.min(start + Math.min(room, chunkRows), ids.length);
      yield ids.subarray(start, end);
    }
  }

  /**
   * Run a step of these rows: by `dense`, or by the `method` of a decode step. Steps that are alike in
   * method, options and number of rows are recorded once; `expected` is what the measure compares with.
   */
  async extend(
    rows: Rows,
    { logits, measure, hidden = false }: Pick<StepOptions, 'logits' | 'measure' | 'hidden'>,
    run: { method?: Sparsity } & Pick<StepRun, 'expected' | 'timed'> = {},
  ): Promise<StepProgram> {
    const { layout } = this.cache;
    const texts = new Set(rows.sequences);
    const lengths = this.#lengths.slice();
    const positions = rows.sequences.map((text) => lengths[text]++);
    const slots = new Int32Array(positions.length);
    const places = new Int32Array(positions.length);
    rows.sequences.forEach((text, row) => {
      const [length, kept] = [this.#lengths[text], this.#kept[text]];
      const { slot, place } = layout.row(length, kept, positions[row] - length);
      slots[row] = slot;
      places[row] = place;
    });
    for (const text of texts) {
      const added = lengths[text] - this.#lengths[text];
      this.#expectRoom(text, added);
      if (added > layout.room(this.#lengths[text], this.#kept[text]))
        throw new EngineError('INTERNAL', `a step adds ${added} tokens, more than it may`);
    }
    const { method, ...rest } = run;
    const recipe = { method: method ?? dense, rows: rows.tokens.length, logits, measure, hidden };
    const { step } = this.#programs.find(recipe) ?? (await this.#programs.record(recipe));
    if (method) this.#decode = step;
    for (const text of texts) if (this.#leftOut.get(text) !== step) await this.#settle(text);
    const complete = rows.sequences.map((text) => this.#complete[text]);
    await step.run({ ...rows, ...rest, positions, slots, places, complete });
    for (const text of texts) {
      const [length, kept] = [this.#lengths[text], this.#kept[text]];
      this.#kept[text] = layout.after(length, kept, lengths[text] - length);
    }
    this.#lengths.set(lengths);
    for (const text of texts)
      if (step.leavesOut) this.#leftOut.set(text, step);
      else this.#complete[text] = lengths[text];
    return step;
  }

  /** Compute keys and values that the latest steps left out of a text, if any did. */
  async #settle(text: number): Promise<void> {
    const [length, complete] = [this.#lengths[text], this.#complete[text]];
    if (complete < length) await this.#leftOut.get(text)!.settle(text, length, complete);
    this.#complete[text] = length;
    this.#leftOut.delete(text);
  }

  #decodeStep(
    sequences: ArrayLike<number>,
    ids: ArrayLike<number>,
    run: { method: Sparsity; timed?: boolean },
  ): Promise<StepProgram> {
    const rows = { tokens: Int32Array.from(ids), sequences: Int32Array.from(sequences) };
    if (rows.tokens.length !== sequences.length || new Set(rows.sequences).size !== ids.length)
      throw new EngineError(
        'BAD_REQUEST',
        `batch: ${ids.length} ids for texts ${rows.sequences.join(', ')}, expected one id for each of different texts`,
      );
    return this.extend(rows, { logits: 'all' }, run);
  }

  async #record({ method, measure, ...options }: Recipe): Promise<StepProgram> {
    const limits = await this.#breakEven?.at(method, options.rows);
    return StepProgram.record(this.#backend, this.#model, this.cache, method, {
      ...options,
      limits,
      ...(measure && { measure }),
      ...(this.#keys && { keys: this.#keys }),
    });
  }

  #expectAdmitted(sequence: number): void {
    if (this.#admitted.has(sequence)) return;
    throw new EngineError(
      'BAD_REQUEST',
      `batch: there is no text ${sequence}, expected one that was admitted and not released`,
    );
  }

  #expectRoom(sequence: number, tokens: number): void {
    const end = this.length(sequence) + tokens;
    if (end <= this.#capacity) return;
    throw new EngineError(
      'PROMPT_TOO_LONG',
      `a text of ${end} tokens does not fit the context of ${this.#capacity}; shorten the prompt or raise \`context\``,
    );
  }
}

/** Rows that extend one text. */
export const rowsOf = (sequence: number, tokens: Int32Array): Rows => ({
  tokens,
  sequences: new Int32Array(tokens.length).fill(sequence),
});

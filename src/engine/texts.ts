import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import type { Cache, Kept } from '../cache.ts';
import { meanKept } from '../kv/parts/layout.ts';
import type { Sparsity } from '../sparsity.ts';
import type { StepUsage } from './accounts.ts';
import type { Model, StepProgram } from './step.ts';
import { type Ask, type Rows, rowsOf, Steps, type Text, type TextsSetup } from './steps.ts';
import { Turns } from './turns.ts';
import type { Usage } from './usage.ts';

/** Rows of one prefill run, at most; a longer prompt takes several. */
const chunkRows = 256;

/** The next token of a text. */
interface Next {
  readonly text: number;
  readonly id: number;
  readonly method: Sparsity;
  readonly usage: Usage | undefined;
}

/**
 * Texts in one cache, and the recorded steps that extend them. Each goes by the number of its place.
 *
 * Calls are queued (turns.ts): they may be made at any time, for any texts, without awaiting others; those of
 * one text run in the order they were made. What changes a text without running anything (`truncate`, `fill`) is
 * refused while a call of that text waits or runs.
 */
export class Texts implements Disposable {
  /** What decode steps ask where nothing else is said. */
  readonly method: Sparsity;
  /** Tokens one text may have. */
  readonly capacity: number;
  /** V */
  readonly vocabulary: number;
  readonly #texts: readonly Text[];
  readonly #steps: Steps;
  readonly #turns = new Turns<Next, Float32Array>({
    check: ({ text, id }) => this.#expectFits(text, [id]),
    run: (rows) => this.#decodeRows(rows),
  });
  readonly #onEnd: (() => void) | undefined;
  #disposed = false;

  constructor(backend: Backend, model: Model, setup: TextsSetup) {
    this.method = setup.method;
    this.capacity = setup.capacity;
    this.#onEnd = setup.onEnd;
    this.vocabulary = model.description.vocabulary;
    this.#texts = Array.from({ length: setup.sequences }, () => ({
      ...{ admitted: false, length: 0, kept: [], complete: 0, leftOut: undefined },
      ...{ ids: [], decoded: undefined, run: 0 },
    }));
    this.#steps = new Steps(backend, model, setup, this.#texts);
  }

  /** Keys and values of all its texts. */
  get cache(): Cache {
    return this.#steps.cache;
  }

  /** Texts there is room for. */
  get sequences(): number {
    return this.#texts.length;
  }

  /** Texts that may still be admitted. */
  get free(): number {
    return this.#texts.reduce((count, _, text) => count + Number(this.#isFree(text)), 0);
  }

  /** Begin an empty text; returns the number it goes by until it is released. Throws `BAD_REQUEST` where all places are taken. */
  admit(): number {
    this.expectOpen();
    const place = this.#texts.findIndex((_, text) => this.#isFree(text));
    if (place < 0)
      throw new EngineError(
        'BAD_REQUEST',
        `batch: all ${this.sequences} texts are under way, expected a free place; release one first`,
      );
    const text = this.#texts[place];
    text.admitted = true;
    text.length = text.complete = text.ids.length = 0;
    text.kept = this.cache.layout.empty;
    text.decoded = text.leftOut = undefined;
    return place;
  }

  /** End a text: what waits of it is rejected, and its place is free when what runs has run. */
  release(sequence: number): void {
    this.#admitted(sequence).admitted = false;
    this.#turns.withdraw(sequence, over('text', 'it was released'));
  }

  /** Tokens a text has. */
  length(sequence: number): number {
    return this.#admitted(sequence).length;
  }

  /** Those of them that are in the cache; where layers keep different numbers, their mean. */
  kept(sequence: number): number {
    return meanKept(this.cache.layout, this.keptByGroup(sequence));
  }

  /** The same for each group of layers (`Layout.groups`). */
  keptByGroup(sequence: number): Kept {
    return this.#admitted(sequence).kept;
  }

  /** The ids a text has; -1 where `fill` made them up. */
  ids(sequence: number): readonly number[] {
    return this.#admitted(sequence).ids;
  }

  /**
   * Forget what comes after the first `length` tokens of a text; returns how many it has now. Where what was
   * evicted, or scored, since would be missed, these are none: add them again.
   */
  truncate(sequence: number, length: number): number {
    const text = this.#idle(sequence);
    if (length >= text.length) return text.length;
    const left = this.cache.layout.cut(text.length, length);
    text.length = text.ids.length = left;
    text.kept = this.cache.layout.after(0, this.cache.layout.empty, left);
    text.complete = Math.min(text.complete, left);
    return left;
  }

  /**
   * Give a text `length` tokens with random keys and values in place of what it has, as many of them in the
   * cache as the policy keeps: to measure speed where a prefill would take too long.
   */
  fill(sequence: number, length: number, random: () => number): void {
    this.truncate(sequence, 0);
    this.#expectRoom(sequence, length);
    const text = this.#idle(sequence);
    text.kept = this.cache.layout.after(0, this.cache.layout.empty, length);
    this.cache.fill(sequence, length, text.kept, random);
    text.length = text.complete = length;
    text.ids.push(...new Array<number>(length).fill(-1));
  }

  /** Add tokens to one text by dense prefill; returns logits [V] after the last one. */
  async prefill(sequence: number, ids: Int32Array, signal?: AbortSignal): Promise<Float32Array> {
    let logits: Float32Array;
    await this.inChunks(sequence, ids, { logits: 'last', signal }, async (step, _, last) => {
      if (last) logits = await step.logits();
    });
    return logits!;
  }

  /**
   * Add tokens to one text by dense prefill, as many at a time as one run takes, at most `rows`; `read` each run
   * of ids from `start` on. Steps of other texts run between.
   *
   * @internal
   */
  async inChunks(
    sequence: number,
    ids: Int32Array,
    ask: Omit<Ask, 'expected' | 'method'> & {
      readonly rows?: number;
      readonly expected?: Int32Array;
      readonly signal?: AbortSignal | undefined;
    },
    read: (step: StepProgram, start: number, last: boolean) => Promise<void>,
  ): Promise<void> {
    const { rows: most = chunkRows, signal, expected, ...options } = ask;
    if (ids.length === 0)
      throw new EngineError('BAD_TEXT', 'prefill: there is no id, expected at least one');
    let start = 0;
    await this.#turns.inParts([sequence], async () => {
      signal?.throwIfAborted();
      if (start === 0) this.#expectFits(sequence, ids);
      const { length, kept } = this.#admitted(sequence);
      const room = this.cache.layout.room(length, kept);
      const end = Math.min(start + Math.min(room, most), ids.length);
      const targets = expected && { expected: expected.subarray(start, end) };
      const rows = rowsOf(sequence, ids.subarray(start, end));
      const step = await this.#steps.run(rows, { ...options, ...targets });
      await read(step, start, end === ids.length);
      start = end;
      return end === ids.length;
    });
  }

  /**
   * Add a token to one text; returns logits [V] after it. Texts that wait for their next token at the same time,
   * by the same method, share a step. What it reads is added to `usage`.
   */
  next(sequence: number, id: number, method = this.method, usage?: Usage): Promise<Float32Array> {
    return this.#turns.join({ text: sequence, id, method, usage });
  }

  /**
   * Run a step of these rows by itself, and `read` what it computed before another step runs. Steps that are
   * alike in method, options and number of rows are recorded once; `expected` is what the measure compares with.
   *
   * @internal
   */
  async extend<T>(rows: Rows, ask: Ask, read: (step: StepProgram) => Promise<T>): Promise<T> {
    const texts = [...new Set(rows.sequences)];
    return this.#turns.alone(texts, async () => {
      for (const text of texts)
        this.#expectFits(
          text,
          rows.tokens.filter((_, row) => rows.sequences[row] === text),
        );
      return read(await this.#steps.run(rows, ask));
    });
  }

  /** What the latest decode step read and computed; of a text: its latest, where no like step ran since. */
  async usage(sequence?: number): Promise<StepUsage> {
    return this.#turns.alone(sequence === undefined ? [] : [sequence], () => {
      const text = sequence === undefined ? undefined : this.#admitted(sequence);
      const of = text ? text.decoded : this.#steps.latest;
      if (!of)
        throw new EngineError('BAD_REQUEST', 'usage: no decode step has run, expected one before');
      if (text && text.run !== of.runs)
        throw new EngineError(
          'BAD_REQUEST',
          'usage: a step of other texts has run since, expected to be asked with the step; give decode a `usage` to add to',
        );
      return of.step.usage();
    });
  }

  /** Weight bytes a dense decode step of `rows` rows reads. */
  denseBytes(rows: number): number {
    return this.#steps.denseBytes(rows);
  }

  /** Reject what waits; memory is given back when what runs has run. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#turns.close(over('batch', 'it was disposed of'), () => {
      this.#steps[Symbol.dispose]();
      this.#onEnd?.();
    });
  }

  /** Throws `DISPOSED`. */
  expectOpen(): void {
    if (this.#disposed) throw over('batch', 'it was disposed of');
  }

  async #decodeRows(rows: readonly Next[]): Promise<readonly Float32Array[]> {
    const tokens = Int32Array.from(rows, ({ id }) => id);
    const sequences = Int32Array.from(rows, ({ text }) => text);
    const { method } = rows[0];
    const step = await this.#steps.run({ tokens, sequences }, { logits: 'all', method });
    const counted = rows.flatMap(({ usage }) => usage ?? []);
    const logits = await step.logits();
    if (counted.length > 0) {
      // What was counted came along with the logits.
      const read = await step.usage();
      for (const usage of counted) usage.add(read, this.denseBytes(rows.length));
    }
    if (rows.length === 1) return [logits];
    const size = logits.length / rows.length;
    return rows.map((_, row) => logits.subarray(row * size, (row + 1) * size));
  }

  #isFree(sequence: number): boolean {
    return !this.#texts[sequence].admitted && !this.#turns.runs(sequence);
  }

  #admitted(sequence: number): Text {
    const text = this.#texts.at(sequence);
    if (text?.admitted) return text;
    throw new EngineError(
      'BAD_REQUEST',
      `batch: there is no text ${sequence}, expected one that was admitted and not released`,
    );
  }

  #idle(sequence: number): Text {
    this.expectOpen();
    const text = this.#admitted(sequence);
    if (!this.#turns.busy(sequence)) return text;
    throw new EngineError(
      'BAD_REQUEST',
      'text: a call of it is under way, expected none while tokens are taken back; await it first',
    );
  }

  #expectFits(sequence: number, ids: ArrayLike<number>): void {
    this.#expectRoom(sequence, ids.length);
    const vocabulary = this.vocabulary;
    for (let i = 0; i < ids.length; i++)
      if (!(Number.isInteger(ids[i]) && ids[i] >= 0 && ids[i] < vocabulary))
        throw new EngineError(
          'BAD_REQUEST',
          `text: id ${ids[i]} is outside the vocabulary, expected 0 to ${vocabulary - 1}`,
        );
  }

  #expectRoom(sequence: number, tokens: number): void {
    const end = this.length(sequence) + tokens;
    if (end <= this.capacity) return;
    throw new EngineError(
      'PROMPT_TOO_LONG',
      `a text of ${end} tokens does not fit the context of ${this.capacity}; shorten the prompt or raise \`context\``,
    );
  }
}

/** Something is used after its end. */
export const over = (what: string, why: string): EngineError =>
  new EngineError('DISPOSED', `${what}: ${why}, expected one that is in use; make another`);

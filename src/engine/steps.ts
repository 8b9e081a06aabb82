import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import type { Cache, Kept } from '../cache.ts';
import type { KVPolicy } from '../kv.ts';
import { cacheShape, createCache } from '../kv/cache.ts';
import type { CacheType } from '../ops/attention.ts';
import type { Sparsity } from '../sparsity.ts';
import { dense } from '../sparsity/dense.ts';
import { denseBytes } from './accounts.ts';
import type { BreakEven } from './break-even.ts';
import { type ProgramBounds, Programs, type Recipe, type Recorded } from './programs.ts';
import { type Model, type StepOptions, StepProgram, type StepRun } from './step.ts';

export interface TextsSetup {
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
  /** Called when the texts were disposed of and nothing of them runs. */
  readonly onEnd?: () => void;
}

/** One row a token: what it is, and the text it extends. */
export interface Rows {
  readonly tokens: Int32Array;
  readonly sequences: Int32Array;
}

/** Rows that extend one text. */
export const rowsOf = (sequence: number, tokens: Int32Array): Rows => ({
  tokens,
  sequences: new Int32Array(tokens.length).fill(sequence),
});

/** What a step computes. */
export interface Ask extends Pick<StepRun, 'expected' | 'timed'> {
  readonly logits: StepOptions['logits'];
  readonly measure?: StepOptions['measure'];
  readonly hidden?: boolean;
  /** Of a decode step. Absent: the step is dense, as prefill is. */
  readonly method?: Sparsity;
}

/** What is known of the text in a place; it goes by the place's number. */
export interface Text {
  /** Somebody has it; else its place is free. */
  admitted: boolean;
  length: number;
  /** Tokens that are in the cache. */
  kept: Kept;
  /** Tokens that have keys and values of all heads; the step that left out what others lack. */
  complete: number;
  leftOut: StepProgram | undefined;
  /** Its tokens; -1 where nobody knows. */
  readonly ids: number[];
  /** Its latest decode step, and which of that program's runs it was. */
  decoded: Recorded | undefined;
  run: number;
}

/**
 * The cache of some texts, and the recorded steps that extend them: where their rows go, and what the cache
 * holds of each text afterwards. Host arithmetic: nothing is asked of the device.
 */
export class Steps implements Disposable {
  /** Keys and values of all its texts. */
  readonly cache: Cache;
  readonly #backend: Backend;
  readonly #model: Model;
  readonly #setup: TextsSetup;
  readonly #texts: readonly Text[];
  readonly #release: () => void;
  readonly #programs: Programs;
  readonly #denseBytes = new Map<number, number>();
  #latest: Recorded | undefined;

  constructor(backend: Backend, model: Model, setup: TextsSetup, texts: readonly Text[]) {
    const shape = cacheShape(model.description, setup.capacity, texts.length, setup.cacheType);
    const cache = createCache(backend, setup.policy, shape);
    this.cache = cache;
    this.#release = () => cache[Symbol.dispose]();
    this.#backend = backend;
    this.#model = model;
    this.#setup = setup;
    this.#texts = texts;
    this.#programs = new Programs(
      (recipe) => this.#record(recipe),
      async (step) => {
        for (const [text, { leftOut }] of texts.entries())
          if (leftOut === step) await this.#settle(text);
      },
      setup.programs,
    );
  }

  /** The latest decode step. */
  get latest(): Recorded | undefined {
    return this.#latest;
  }

  /** Run a step of rows that fit their texts, and count it as theirs. One at a time. */
  async run(
    { tokens, sequences }: Rows,
    { logits, measure, hidden = false, method, ...run }: Ask,
  ): Promise<StepProgram> {
    const { layout } = this.cache;
    const recipe = {
      ...{ method: method ?? dense, rows: tokens.length, logits, measure, hidden },
      chooses: method !== undefined && this.cache.policy.keeps === 'chosen',
    };
    const recorded = this.#programs.find(recipe) ?? (await this.#programs.record(recipe));
    const { step } = recorded;
    const texts = new Map<number, number>();
    const positions = tokens.slice();
    const slots = layout.slots.map(() => tokens.slice());
    const places = layout.slots.map(() => tokens.slice());
    sequences.forEach((sequence, row) => {
      const { length, kept } = this.#texts[sequence];
      const added = texts.get(sequence) ?? 0;
      texts.set(sequence, added + 1);
      positions[row] = length + added;
      for (let group = 0; group < slots.length; group++) {
        const { slot, place } = layout.row(group, length, kept, added);
        slots[group][row] = slot;
        places[group][row] = place;
      }
    });
    for (const [sequence, added] of texts) {
      const { length, kept, leftOut } = this.#texts[sequence];
      if (added > layout.room(length, kept))
        throw new EngineError('INTERNAL', `a step adds ${added} tokens, more than it may`);
      if (leftOut && leftOut !== step) await this.#settle(sequence);
    }
    const complete = sequences.map((sequence) => this.#texts[sequence].complete);
    recorded.runs++;
    await step.run({ tokens, sequences, ...run, positions, slots, places, complete });
    sequences.forEach((sequence, row) => this.#texts[sequence].ids.push(tokens[row]));
    for (const [sequence, added] of texts) {
      const text = this.#texts[sequence];
      text.kept = layout.after(text.length, text.kept, added);
      text.length += added;
      if (step.leavesOut) text.leftOut = step;
      else text.complete = text.length;
      if (!method) continue;
      text.decoded = recorded;
      text.run = recorded.runs;
    }
    if (method) this.#latest = recorded;
    return step;
  }

  /** Weight bytes a dense decode step of `rows` rows reads. */
  denseBytes(rows: number): number {
    const known = this.#denseBytes.get(rows);
    if (known !== undefined) return known;
    const inputs = this.#backend.allocate('i32', [rows], 'state');
    const bytes = denseBytes(this.#model, this.cache, inputs);
    this.#backend.free(inputs);
    this.#denseBytes.set(rows, bytes);
    return bytes;
  }

  [Symbol.dispose](): void {
    this.#programs[Symbol.dispose]();
    this.#release();
  }

  /** Compute keys and values that the latest steps left out of a text, if any did. */
  async #settle(sequence: number): Promise<void> {
    const text = this.#texts[sequence];
    const { length, complete, leftOut } = text;
    if (complete < length) await leftOut!.settle(sequence, length, complete);
    text.complete = length;
    text.leftOut = undefined;
  }

  async #record({ method, measure, ...options }: Recipe): Promise<StepProgram> {
    const { breakEven, keys } = this.#setup;
    const limits = await breakEven?.at(method, options.rows);
    return StepProgram.record(this.#backend, this.#model, this.cache, method, {
      ...options,
      limits,
      ...(measure && { measure }),
      ...(keys && { keys }),
    });
  }
}

import { EngineError } from '../errors.ts';

/** One row of a decode step, as it waits for its turn. */
export interface Row {
  readonly text: number;
  /** Rows of one method share a step. */
  readonly method: unknown;
}

/** How rows are run. */
export interface RowWork<R extends Row, Result> {
  /** Throws why this row cannot run now: it is refused, the others run. */
  check(row: R): void;
  /** Run rows of different texts and one method; results in their order. */
  run(rows: readonly R[]): Promise<readonly Result[]>;
}

interface Job<R, Result> {
  readonly texts: readonly number[];
  /** Jobs of one text run in this order. */
  readonly number: number;
  /** A row that others may join, … */
  readonly row: R | undefined;
  /** … or work of its own, in parts; true: that was the last. */
  readonly part: (() => Promise<boolean>) | undefined;
  readonly resolve: (result: Result) => void;
  readonly reject: (reason: unknown) => void;
  /** Why it ends with the part that is running. */
  withdrawn: EngineError | undefined;
}

/**
 * How often whoever got a result may be called before the next step begins without it. Their code runs from
 * its results to the next row in a few continuations of promises; who waits for anything else is not awaited.
 */
const patience = 32;

/**
 * Who runs next on a device that does one thing at a time.
 *
 * - Jobs run in the order they were asked for; jobs of one text always do.
 * - A row waits for nobody, but everyone who waits with a row of the same method joins its step. A step begins
 *   when those who just got something have had the chance to ask again, without any timer: rows of texts that are
 *   decoded at the same time stay together, and a row alone runs at once.
 * - Work in parts goes to the end of the line after each part, so rows and others' parts run between.
 * - A step that fails rejects its own rows; what waits is run all the same.
 */
export class Turns<R extends Row, Result> {
  readonly #rows: RowWork<R, Result>;
  #queue: Job<R, Result>[] = [];
  #running: readonly Job<R, Result>[] = [];
  #working = false;
  #asked = 0;
  /** Texts that got something and have not asked again. */
  readonly #returning = new Set<number>();
  #closed: { readonly reason: EngineError; readonly then: () => void } | undefined;

  constructor(rows: RowWork<R, Result>) {
    this.#rows = rows;
  }

  /** Run a row, together with others that wait. */
  join(row: R): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#push([row.text], row, undefined, resolve, reject);
    });
  }

  /** Run work for these texts by itself. */
  async alone<T>(texts: readonly number[], work: () => Promise<T>): Promise<T> {
    let result: T;
    await this.inParts(texts, async () => {
      result = await work();
      return true;
    });
    return result!;
  }

  /** Run work for these texts part by part, until one answers true; others run between. */
  async inParts(texts: readonly number[], part: () => Promise<boolean>): Promise<void> {
    await new Promise<unknown>((resolve, reject) => {
      this.#push(texts, undefined, part, resolve, reject);
    });
  }

  /** Whether something of this text waits or runs. */
  busy(text: number): boolean {
    return this.runs(text) || this.#queue.some(({ texts }) => texts.includes(text));
  }

  /** Whether something of this text runs. */
  runs(text: number): boolean {
    return this.#running.some(({ texts }) => texts.includes(text));
  }

  /** Reject what waits of a text; what runs ends with its part. */
  withdraw(text: number, reason: EngineError): void {
    this.#returning.delete(text);
    const [gone, left] = [[] as Job<R, Result>[], [] as Job<R, Result>[]];
    for (const job of this.#queue) (job.texts.includes(text) ? gone : left).push(job);
    this.#queue = left;
    for (const job of this.#running) if (job.texts.includes(text)) job.withdrawn = reason;
    for (const { reject } of gone) reject(reason);
  }

  /** Reject what waits and whatever is asked from now on; `then` is called when nothing runs any more. */
  close(reason: EngineError, then: () => void): void {
    if (this.#closed) return;
    this.#closed = { reason, then };
    for (const { reject } of this.#queue.splice(0)) reject(reason);
    for (const job of this.#running) job.withdrawn = reason;
    if (this.#running.length === 0) then();
  }

  #push(
    texts: readonly number[],
    row: R | undefined,
    part: Job<R, Result>['part'],
    resolve: (result: Result) => void,
    reject: (reason: unknown) => void,
  ): void {
    if (this.#closed) {
      reject(this.#closed.reason);
      return;
    }
    for (const text of texts) this.#returning.delete(text);
    const number = this.#asked++;
    this.#queue.push({ texts, number, row, part, resolve, reject, withdrawn: undefined });
    if (this.#working) return;
    this.#working = true;
    void this.#work();
  }

  async #work(): Promise<void> {
    // Whoever asks in the same breath is part of the first step.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      if (this.#first()?.row) await this.#gather();
      const first = this.#first();
      if (!first) continue;
      this.#running = first.row ? this.#together(first.row.method) : [first];
      this.#queue = this.#queue.filter((job) => !this.#running.includes(job));
      if (first.part) await this.#runPart(first, first.part);
      else await this.#runRows(this.#running);
    }
    this.#working = false;
  }

  /** Let those who got something ask again. */
  async #gather(): Promise<void> {
    for (let call = 0; call < patience && this.#returning.size > 0; call++) await Promise.resolve();
    this.#returning.clear();
  }

  #first(): Job<R, Result> | undefined {
    return this.#queue.find((job) => !this.#isBlocked(job));
  }

  #together(method: unknown): Job<R, Result>[] {
    return this.#queue.filter((job) => job.row?.method === method && !this.#isBlocked(job));
  }

  /** An earlier job of one of its texts waits. */
  #isBlocked({ texts, number }: Job<R, Result>): boolean {
    return this.#queue.some(
      (other) => other.number < number && other.texts.some((text) => texts.includes(text)),
    );
  }

  async #runPart(job: Job<R, Result>, part: () => Promise<boolean>): Promise<void> {
    try {
      const done = await part();
      this.#end();
      if (done) this.#resolve(job, undefined as Result);
      else if (job.withdrawn) job.reject(job.withdrawn);
      else this.#queue.push(job);
    } catch (error) {
      this.#end();
      job.reject(error);
    }
  }

  async #runRows(jobs: readonly Job<R, Result>[]): Promise<void> {
    const fit = jobs.filter((job) => {
      try {
        this.#rows.check(job.row!);
        return true;
      } catch (error) {
        job.reject(error);
        return false;
      }
    });
    try {
      const results = fit.length ? await this.#rows.run(fit.map(({ row }) => row!)) : [];
      this.#end();
      fit.forEach((job, i) => this.#resolve(job, results[i]));
    } catch (error) {
      this.#end();
      for (const { reject } of fit) reject(error);
    }
  }

  #resolve({ texts, resolve }: Job<R, Result>, result: Result): void {
    for (const text of texts) this.#returning.add(text);
    resolve(result);
  }

  /** What ran is over: before anyone hears of it, so that whoever does may end the text. */
  #end(): void {
    this.#running = [];
    this.#closed?.then();
  }
}

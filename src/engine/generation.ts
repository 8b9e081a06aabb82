import { EngineError, expectWhole } from '../errors.ts';
import type { Sparsity } from '../sparsity.ts';
import { withDefaults } from './defaults.ts';
import type {
  FinishReason,
  GenerateOptions,
  GenerateResult,
  OpenModel,
  Piece,
  Prompt,
  Start,
} from './generate.ts';
import { describe, type LogProbability } from './log-probability.ts';
import { createSampler } from './sampler.ts';
import { type DecodeOptions, expectPolicy, type Session } from './session.ts';
import { TextStream } from './text-stream.ts';
import { Usage } from './usage.ts';

/**
 * One generation: iterate it for pieces as they come, or await `result` for the whole.
 *
 * It runs once, as fast as it is iterated: nothing runs before, and while a piece is looked at, the step that
 * follows it runs. Generations on one batch share steps; one that is iterated slowly does not keep others back.
 * Leaving the loop early ends it as an abort does. Iterating it again throws `BAD_REQUEST`.
 */
export class Generation<R extends GenerateResult = GenerateResult> implements AsyncIterable<Piece> {
  readonly #pieces: AsyncGenerator<Piece, void>;
  readonly #result: Promise<R>;
  #settle!: (result: R) => void;
  #fail!: (error: unknown) => void;
  #iterated = false;

  constructor(model: OpenModel, start: Start<R>, options: GenerateOptions) {
    this.#result = new Promise((resolve, reject) => {
      this.#settle = resolve;
      this.#fail = reject;
    });
    // Whoever iterates sees the error there; nobody need also await the result.
    this.#result.catch(() => undefined);
    this.#pieces = this.#run(model, start, withDefaults(model.defaults, options));
  }

  [Symbol.asyncIterator](): AsyncGenerator<Piece, void> {
    if (this.#iterated)
      throw new EngineError(
        'BAD_REQUEST',
        'generation: it is iterated again, or after its result was asked for, expected once; await `result`, or generate again',
      );
    this.#iterated = true;
    return this.#pieces;
  }

  /** The whole result; runs the generation where nobody iterates it. */
  get result(): Promise<R> {
    return this.#iterated ? this.#result : this.#drain();
  }

  async #drain(): Promise<R> {
    this.#iterated = true;
    while (!(await this.#pieces.next()).done);
    return this.#result;
  }

  async *#run(
    model: OpenModel,
    from: Start<R>,
    options: GenerateOptions,
  ): AsyncGenerator<Piece, void> {
    const { maxTokens = 128, stop = [], logprobs, ignoreEnd = false, signal } = options;
    const run = new Run();
    const text = new TextStream(model.hasTokenizer ? model.tokenizer : undefined, stop);
    let finish: (() => GenerateResult) | undefined;
    let failed = false;
    try {
      expectCounts(options);
      if (stop.length && !model.hasTokenizer) void model.tokenizer;
      const { endIds, vocabulary } = model.description;
      const sample = createSampler(options, vocabulary);
      const { promptIds, session, cached, endIds: moreEnds } = from.begin();
      const ends = [...endIds, ...moreEnds];
      const before = Array.from(promptIds);
      const { method = session.method } = options;
      const usage = new Usage(model.description.layers, session.denseBytes(), options.usage);
      finish = () => ({
        ...resultOf(model, session, method, { prompt: promptIds, cached }, run),
        text: text.value,
        density: usage.density(),
        bytesPerToken: usage.bytesPerToken(),
        ...(logprobs === undefined ? {} : { logprobs: run.logprobs }),
      });

      let logits = signal?.aborted
        ? undefined
        : await run.prefill(session, promptIds.subarray(cached), options);
      if (logits && maxTokens === 0) run.finishReason = 'length';
      while (logits && run.finishReason === 'abort' && !signal?.aborted) {
        const id = sample(logits, before);
        if (!ignoreEnd && ends.includes(id)) {
          run.finishReason = 'stop';
          break;
        }
        run.ids.push(id);
        before.push(id);
        const logprob = logprobs === undefined ? undefined : describe(logits, id, logprobs);
        if (logprob) run.logprobs.push(logprob);
        const certain = text.push(id);
        if (text.stopped) run.finishReason = 'stop';
        else if (run.ids.length >= maxTokens || session.length >= session.capacity)
          run.finishReason = 'length';
        if (run.finishReason === 'abort') run.ahead(session, { method, usage });
        yield { id, text: certain, ...(logprob && { logprob }) };
        logits = await run.next;
      }
      const rest = text.end();
      if (rest) yield { id: run.ids[run.ids.length - 1], text: rest };
    } catch (error) {
      failed = true;
      if (!signal?.aborted || error instanceof EngineError) {
        this.#fail(error);
        throw error;
      }
    } finally {
      // A step may be under way where the loop was left.
      await run.settled;
      if (finish) this.#settle(from.end(finish(), failed));
    }
  }
}

/** What a generation has come to, and the step that is under way for it. */
class Run {
  readonly ids: number[] = [];
  readonly logprobs: LogProbability[] = [];
  readonly timing = { prefillSeconds: 0, decodeSeconds: 0, decodeSteps: 0 };
  promptLogprobs: (LogProbability | null)[] | undefined;
  finishReason: FinishReason = 'abort';
  /** Logits after the latest id, when they are there. */
  next: Promise<Float32Array> | undefined;
  /** Resolves when no step is under way. */
  settled: Promise<unknown> | undefined;

  async prefill(
    session: Session,
    ids: Int32Array,
    { promptLogprobs, signal }: GenerateOptions,
  ): Promise<Float32Array> {
    const start = performance.now();
    try {
      if (promptLogprobs === undefined) return await session.prefill(ids, signal);
      const read = await session.prefillWithLogprobs(ids, promptLogprobs, signal);
      this.promptLogprobs = [null, ...read.logprobs];
      return read.logits;
    } finally {
      this.timing.prefillSeconds = (performance.now() - start) / 1000;
    }
  }

  /** Begin the step that adds the latest id. */
  ahead(session: Session, options: DecodeOptions): void {
    this.next = this.#decode(session, this.ids[this.ids.length - 1], options);
    // It is heard of when the step is awaited.
    this.settled = this.next.catch(() => undefined);
  }

  async #decode(session: Session, id: number, options: DecodeOptions): Promise<Float32Array> {
    const start = performance.now();
    const logits = await session.decode(id, options);
    this.timing.decodeSeconds += (performance.now() - start) / 1000;
    this.timing.decodeSteps++;
    return logits;
  }
}

/** Throws `BAD_REQUEST` for counts that are none. */
function expectCounts({ maxTokens = 128, logprobs = 0, promptLogprobs }: GenerateOptions): void {
  expectWhole('maxTokens', maxTokens, promptLogprobs === undefined ? 1 : 0);
  expectWhole('logprobs', logprobs, 0);
  expectWhole('promptLogprobs', promptLogprobs ?? 0, 0);
}

function resultOf(
  model: OpenModel,
  session: Session,
  method: Sparsity,
  { prompt, cached }: { readonly prompt: Int32Array; readonly cached: number },
  { ids, finishReason, timing, promptLogprobs }: Run,
): Omit<GenerateResult, 'text' | 'density' | 'bytesPerToken' | 'logprobs'> {
  const { prefillSeconds, decodeSeconds, decodeSteps } = timing;
  return {
    model: model.model,
    family: model.description.family,
    backend: model.backend.name,
    weights: model.checkpoint.dtype,
    sparsity: method.name,
    promptIds: Array.from(prompt),
    ids,
    finishReason,
    timing: {
      loadSeconds: model.loadSeconds,
      prefillSeconds,
      prefillTokensPerSecond: rate(prompt.length - cached, prefillSeconds),
      decodeSeconds,
      decodeTokensPerSecond: rate(decodeSteps, decodeSeconds),
    },
    kv: {
      policy: session.cache.policy.name,
      residentBytes: session.cache.residentBytes,
      keptTokens: session.kept,
    },
    ...(promptLogprobs && { promptLogprobs }),
  };
}

const rate = (count: number, seconds: number): number => (seconds > 0 ? count / seconds : 0);

/** A prompt in a text of its own: in a batch or a cache of its own; or in a text of the caller's. */
export function freshStart(
  model: OpenModel,
  prompt: Prompt,
  { batch, session, method, policy, promptLogprobs }: GenerateOptions,
): Start<GenerateResult> {
  let own: Session | undefined;
  const begin = (): Session => {
    if (!session)
      return (own = batch ? batch.text({ method, policy }) : model.session(method, policy));
    if (batch)
      throw new EngineError(
        'BAD_REQUEST',
        'generate: `batch` and `session` are given, expected at most one; a session has its place',
      );
    if (policy) expectPolicy(session.cache.policy, policy);
    return session;
  };
  return {
    begin: () => {
      const promptIds = model.encode(prompt);
      const text = begin();
      // Ids that the cache holds give no logits.
      const cached = promptLogprobs === undefined ? text.reuse(promptIds) : text.truncate(0);
      return { promptIds, session: text, cached, endIds: [] };
    },
    end: (result) => {
      own?.[Symbol.dispose]();
      return result;
    },
  };
}

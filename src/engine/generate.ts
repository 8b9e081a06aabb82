import { EngineError, expectWhole } from '../errors.ts';
import type { Engine } from './engine.ts';
import { createSampler, likeliest, logProbability, type SamplingOptions } from './sampler.ts';
import type { Session } from './session.ts';
import { type BytesPerToken, type Density, Usage } from './usage.ts';
import { TextStream } from './text-stream.ts';

/** Text, or token ids. */
export type Prompt = string | ArrayLike<number>;

export interface GenerateOptions extends SamplingOptions {
  /** Most ids to generate. Default 128. */
  readonly maxTokens?: number;
  /** Texts that end the generation; they are not part of the result. */
  readonly stop?: readonly string[];
  /** Report each id's log-probability and this many alternatives. Default: none. */
  readonly logprobs?: number;
  /** Go on past the model's end-of-text id. Default false. */
  readonly ignoreEnd?: boolean;
  /** Ends the generation after the step under way; what was generated stays. */
  readonly signal?: AbortSignal;
}

/** One generated id and the text that became certain with it. */
export interface Piece {
  readonly id: number;
  readonly text: string;
  readonly logprob?: LogProbability;
}

export interface LogProbability {
  readonly id: number;
  /** Natural logarithm, before temperature and filters. */
  readonly logprob: number;
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

export type FinishReason = 'stop' | 'length' | 'abort';

export interface GenerateResult {
  readonly model: string;
  readonly family: string;
  readonly backend: string;
  readonly weights: string;
  readonly sparsity: string;
  readonly promptIds: readonly number[];
  readonly ids: readonly number[];
  readonly text: string;
  readonly finishReason: FinishReason;
  readonly timing: {
    readonly loadSeconds: number;
    readonly prefillSeconds: number;
    readonly prefillTokensPerSecond: number;
    readonly decodeSeconds: number;
    readonly decodeTokensPerSecond: number;
  };
  /** Decode steps, mean. */
  readonly density: Density;
  readonly bytesPerToken: BytesPerToken;
  readonly kv: {
    readonly policy: string;
    readonly residentBytes: number;
    readonly keptTokens: number;
  };
  readonly logprobs?: readonly LogProbability[];
}

/** Where a generation finds its ids, and a cache that may hold the first of them. */
export interface Start<R extends GenerateResult> {
  /** Called once, before anything runs. */
  begin(): {
    readonly promptIds: Int32Array;
    readonly session: Session;
    /** Ids of the prompt that the session holds; at least one is left to add. */
    readonly cached: number;
    /** Ids that end this text beside the model's own. */
    readonly endIds: readonly number[];
  };
  /** Called once after `begin`, however it ended: the session is the caller's again. */
  end(result: GenerateResult, failed: boolean): R;
}

/** A text of its own, in a cache of its own. */
export function freshStart(engine: Engine, prompt: Prompt): Start<GenerateResult> {
  let session: Session | undefined;
  return {
    begin: () => {
      const promptIds = engine.encode(prompt);
      session = engine.session();
      return { promptIds, session, cached: 0, endIds: [] };
    },
    end: (result) => {
      session?.[Symbol.dispose]();
      return result;
    },
  };
}

/**
 * One generation: iterate it for pieces as they come, or await `result` for the whole.
 *
 * Leaving the loop early ends it as an abort does. It runs once.
 */
export class Generation<R extends GenerateResult = GenerateResult> implements AsyncIterable<Piece> {
  readonly #pieces: AsyncGenerator<Piece, void>;
  readonly #result: Promise<R>;
  #settle!: (result: R) => void;
  #fail!: (error: unknown) => void;
  #iterated = false;

  constructor(engine: Engine, start: Start<R>, options: GenerateOptions) {
    this.#result = new Promise((resolve, reject) => {
      this.#settle = resolve;
      this.#fail = reject;
    });
    // Whoever iterates sees the error there; nobody need also await the result.
    this.#result.catch(() => undefined);
    this.#pieces = this.#run(engine, start, options);
  }

  [Symbol.asyncIterator](): AsyncGenerator<Piece, void> {
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
    engine: Engine,
    from: Start<R>,
    options: GenerateOptions,
  ): AsyncGenerator<Piece, void> {
    const { maxTokens = 128, stop = [], logprobs, ignoreEnd = false, signal } = options;
    const ids: number[] = [];
    const reported: LogProbability[] = [];
    const text = new TextStream(engine.hasTokenizer ? engine.tokenizer : undefined, stop);
    let finishReason: FinishReason = 'abort';
    let prefillSeconds = 0;
    let decodeSeconds = 0;
    let decodeSteps = 0;
    let finish: (() => GenerateResult) | undefined;
    let failed = false;
    try {
      expectWhole('maxTokens', maxTokens, 1);
      if (logprobs !== undefined) expectWhole('logprobs', logprobs, 0);
      if (stop.length && !engine.hasTokenizer) void engine.tokenizer;
      const { endIds, vocabulary } = engine.description;
      const sample = createSampler(options, vocabulary);
      const { promptIds, session, cached, endIds: moreEnds } = from.begin();
      const ends = [...endIds, ...moreEnds];
      const before = Array.from(promptIds);
      const usage = new Usage(engine.description.layers, session.denseBytes());
      finish = () => ({
        model: engine.model,
        family: engine.description.family,
        backend: engine.backend.name,
        weights: engine.checkpoint.dtype,
        sparsity: engine.sparsity.name,
        promptIds: Array.from(promptIds),
        ids,
        text: text.value,
        finishReason,
        timing: {
          loadSeconds: engine.loadSeconds,
          prefillSeconds,
          prefillTokensPerSecond: rate(promptIds.length - cached, prefillSeconds),
          decodeSeconds,
          decodeTokensPerSecond: rate(decodeSteps, decodeSeconds),
        },
        density: usage.density(),
        bytesPerToken: usage.bytesPerToken(),
        kv: {
          policy: session.cache.policy.name,
          residentBytes: session.cache.residentBytes,
          keptTokens: session.kept,
        },
        ...(logprobs === undefined ? {} : { logprobs: reported }),
      });

      let start = performance.now();
      let logits: Float32Array | undefined;
      if (!signal?.aborted) logits = await session.prefill(promptIds.subarray(cached), signal);
      prefillSeconds = (performance.now() - start) / 1000;

      while (logits && !signal?.aborted) {
        const id = sample(logits, before);
        if (!ignoreEnd && ends.includes(id)) {
          finishReason = 'stop';
          break;
        }
        ids.push(id);
        before.push(id);
        const logprob = logprobs === undefined ? undefined : describe(logits, id, logprobs);
        if (logprob) reported.push(logprob);
        const certain = text.push(id);
        yield { id, text: certain, ...(logprob && { logprob }) };
        if (text.stopped) finishReason = 'stop';
        else if (ids.length >= maxTokens || session.length >= engine.context)
          finishReason = 'length';
        if (finishReason !== 'abort') break;

        start = performance.now();
        logits = await session.decode(id);
        decodeSeconds += (performance.now() - start) / 1000;
        decodeSteps++;
        usage.add(await session.usage());
      }
      const rest = text.end();
      if (rest) yield { id: ids[ids.length - 1], text: rest };
    } catch (error) {
      failed = true;
      if (!signal?.aborted || error instanceof EngineError) {
        this.#fail(error);
        throw error;
      }
    } finally {
      if (finish) this.#settle(from.end(finish(), failed));
    }
  }
}

const rate = (count: number, seconds: number): number => (seconds > 0 ? count / seconds : 0);

function describe(logits: Float32Array, id: number, count: number): LogProbability {
  return {
    id,
    logprob: logProbability(logits, id),
    top: Array.from(likeliest(logits, count), (other) => ({
      id: other,
      logprob: logProbability(logits, other),
    })),
  };
}

import type { Backend } from '../backend.ts';
import type { KVPolicy } from '../kv.ts';
import type { GenerationDefaults } from '../loaders/generation.ts';
import type { Description } from '../model.ts';
import type { Sparsity } from '../sparsity.ts';
import type { Tokenizer } from '../tokenizer/index.ts';
import type { Batch } from './batch.ts';
import type { LogProbability } from './log-probability.ts';
import type { SamplingOptions } from './sampler.ts';
import type { Session } from './session.ts';
import type { BytesPerToken, Density, Usage } from './usage.ts';

/** Text, or token ids. */
export type Prompt = string | ArrayLike<number>;

/** What generations and conversations need of a model that is open; an `Engine` is one. */
export interface OpenModel {
  /** What results call it. */
  readonly model: string;
  /** What runs it. */
  readonly backend: Pick<Backend, 'name'>;
  /** Type of its weights in memory. */
  readonly checkpoint: { readonly dtype: string };
  /** Its sizes. */
  readonly description: Description;
  /** How its texts are generated where nothing else is asked for. */
  readonly defaults: GenerationDefaults;
  /** It took to open. */
  readonly loadSeconds: number;
  /** Whether texts can be given; else ids alone. */
  readonly hasTokenizer: boolean;
  /** Throws `NO_TOKENIZER`. */
  readonly tokenizer: Tokenizer;
  /** Ids of a prompt, checked. */
  encode(prompt: Prompt): Int32Array;
  /** A text in a cache of its own. */
  session(method?: Sparsity, policy?: KVPolicy): Session;
}

/**
 * How a text goes on, when it ends, and where. What is absent is what the model's makers say (`engine.defaults`), else
 * the default named here.
 */
export interface GenerateOptions extends SamplingOptions {
  /** Most ids to generate. Default 128. 0: none, where `promptLogprobs` are asked for. */
  readonly maxTokens?: number;
  /** Texts that end the generation; they are not part of the result. */
  readonly stop?: readonly string[];
  /** Report each id's log-probability and this many alternatives. Default: none. */
  readonly logprobs?: number;
  /** The same of each id of the prompt. Default: none. */
  readonly promptLogprobs?: number;
  /** Go on past the ids that end a text. Default false. */
  readonly ignoreEnd?: boolean;
  /** Ends the generation after the step under way; what was generated stays. */
  readonly signal?: AbortSignal;
  /** Take a place of this batch, and share steps with its other texts. Default: a cache of its own. */
  readonly batch?: Batch;
  /**
   * Go on in this text, which stays the caller's: what it has in common with the prompt is not computed again,
   * what else it has is forgotten. Default: a new text.
   */
  readonly session?: Session;
  /** What decode steps ask (`engine.method`). Default: the method of the session, batch or engine. */
  readonly method?: Sparsity;
  /** What the cache keeps (`engine.policyOf`); that of a batch or session, or it is refused. Default: theirs, or the engine's. */
  readonly policy?: KVPolicy;
  /** What decode steps read and computed is added to it, beside the result's own. */
  readonly usage?: Usage;
}

/**
 * One generated id and the text that became certain with it. Text that was held back to the end comes in a last
 * piece, with the latest id again.
 */
export interface Piece {
  /** The id that came. */
  readonly id: number;
  /** What became certain with it; may be empty. */
  readonly text: string;
  /** Where `logprobs` asked for it. */
  readonly logprob?: LogProbability;
}

/** Why a text ended: the model's own end or a stop text; `maxTokens` or the context; the signal. */
export type FinishReason = 'stop' | 'length' | 'abort';

/** A generated text, and what it cost. */
export interface GenerateResult {
  /** The name or path it was opened by. */
  readonly model: string;
  /** Its model family. */
  readonly family: string;
  /** What ran it. */
  readonly backend: string;
  /** Type of weights in memory. */
  readonly weights: string;
  /** The method that decode steps asked. */
  readonly sparsity: string;
  /** The prompt, with what the tokenizer puts around it. */
  readonly promptIds: readonly number[];
  /** What was generated, without the id that ended it. */
  readonly ids: readonly number[];
  /** The same as text, without a stop text; empty where there is no tokenizer. */
  readonly text: string;
  /** Why it ended. */
  readonly finishReason: FinishReason;
  /** Seconds, and tokens a second; of decode steps, without the first id, which prefill gives. */
  readonly timing: {
    readonly loadSeconds: number;
    readonly prefillSeconds: number;
    readonly prefillTokensPerSecond: number;
    readonly decodeSeconds: number;
    readonly decodeTokensPerSecond: number;
  };
  /** Decode steps, mean. */
  readonly density: Density;
  /** Bytes that decode steps read for one token, mean. */
  readonly bytesPerToken: BytesPerToken;
  /** The policy by name, bytes of the cache, and how many tokens of this text it kept at the end. */
  readonly kv: {
    readonly policy: string;
    readonly residentBytes: number;
    readonly keptTokens: number;
  };
  /** Of each id, where `logprobs` asked for them. */
  readonly logprobs?: readonly LogProbability[];
  /** Of each id of the prompt; null of the first, which follows nothing. */
  readonly promptLogprobs?: readonly (LogProbability | null)[];
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

import type { Engine } from '../engine/engine.ts';
import { argmax, logProbability } from '../engine/sampler.ts';
import type { Session } from '../engine/session.ts';
import { EngineError } from '../errors.ts';
import type { Usage } from '../engine/usage.ts';
import type { TaskRun } from './task.ts';

/** How likely a continuation is. */
export interface Likelihood {
  /** Natural logarithm of its probability after its context. */
  readonly logprob: number;
  /** Each of its ids is the likeliest one. */
  readonly greedy: boolean;
  /** The context lost its beginning, so that both fit. */
  readonly shortened: boolean;
}

/**
 * How likely continuations are, as lm-evaluation-harness asks it and as served: the context is prefilled dense,
 * and each id of a continuation is scored by the decode path. What a context has in common with the one before is
 * not computed again.
 *
 *     using likelihoods = new Likelihoods(engine, run);
 *     const { logprob, greedy } = await likelihoods.of('The capital of France is', ' Paris');
 */
export class Likelihoods implements Disposable {
  readonly #engine: Engine;
  readonly #session: Session;
  readonly #usage: Usage;
  readonly #signal: AbortSignal | undefined;
  /** Tokens of the session that prefill computed: what decode steps added may be another computation. */
  #prefilled = 0;

  constructor(
    engine: Engine,
    { session, usage, signal }: Pick<TaskRun, 'session' | 'usage' | 'signal'>,
  ) {
    this.#engine = engine;
    this.#session = session();
    this.#usage = usage;
    this.#signal = signal;
  }

  /** Throws `BAD_TEXT` where the continuation has no token, or more than the model sees at once. */
  async of(context: string, continuation: string): Promise<Likelihood> {
    const pair = encodePair(this.#engine, context, continuation);
    const { ids, first, shortened } = this.#fitted(pair);
    const session = this.#session;
    const before = Int32Array.from(ids.slice(0, first - 1));
    const known = Math.min(this.#prefilled, session.common(before));
    const kept = session.truncate(known);
    this.#prefilled = before.length;
    if (kept < before.length) await session.prefill(before.subarray(kept), this.#signal);
    let [logprob, greedy] = [0, true];
    for (let at = first; at < ids.length; at++) {
      this.#signal?.throwIfAborted();
      const logits = await session.decode(ids[at - 1], { usage: this.#usage });
      logprob += logProbability(logits, ids[at]);
      greedy &&= argmax(logits) === ids[at];
    }
    return { logprob, greedy, shortened };
  }

  [Symbol.dispose](): void {
    this.#session[Symbol.dispose]();
  }

  /** The last ids, that the model sees at once; the last of them is scored and not computed. */
  #fitted({ ids, first }: Pair): Pair & { readonly shortened: boolean } {
    const cut = Math.max(0, ids.length - 1 - this.#engine.span);
    if (first - cut >= 1) return { ids: ids.slice(cut), first: first - cut, shortened: cut > 0 };
    throw new EngineError(
      'BAD_TEXT',
      `continuation: has ${ids.length - first} tokens, expected at most ${this.#engine.span}, which the model sees at once; raise \`context\``,
    );
  }
}

/** Ids of a context and its continuation, which begins at `first`, 1 or later. */
interface Pair {
  readonly ids: readonly number[];
  readonly first: number;
}

/**
 * Both are encoded as one text, without a BOS; space at the context's end belongs to the continuation. An empty context is
 * what the model puts before a text, or else its end of text.
 */
function encodePair(engine: Engine, context: string, continuation: string): Pair {
  const { tokenizer, description } = engine;
  const begins = context.trimEnd();
  const encode = (text: string): number[] => tokenizer.encode(text, { special: false });
  const whole = encode(context + continuation);
  const prefix = encode(begins);
  if (prefix.length >= whole.length || continuation === '')
    throw new EngineError(
      'BAD_TEXT',
      `continuation: ${JSON.stringify(continuation)} adds no token to its context, expected at least one; correct the item`,
    );
  if (prefix.length > 0) return { ids: whole, first: prefix.length };
  const start = [...tokenizer.encode(''), ...description.endIds].slice(0, 1);
  if (start.length === 0)
    throw new EngineError(
      'BAD_TEXT',
      'context: is empty, and the model has no id that begins or ends a text; expected a context; correct the item',
    );
  return { ids: [...start, ...whole], first: 1 };
}

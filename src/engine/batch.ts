import { EngineError } from '../errors.ts';
import type { KVPolicy } from '../kv.ts';
import type { Sparsity } from '../sparsity.ts';
import { expectPolicy, Session } from './session.ts';
import type { StepTimes } from './step-times.ts';
import { Texts } from './texts.ts';

/** What one text of a batch asks for. */
export interface TextOptions {
  /** What its decode steps ask. Default: the batch's method. */
  readonly method?: Sparsity | undefined;
  /** What the cache must keep of it: that of the batch, or it is refused. */
  readonly policy?: KVPolicy | undefined;
}

/**
 * Texts under way that are decoded together, and come and go at any time, each with its own length.
 *
 *     using batch = engine.batch({ sequences: 3 });
 *     using text = batch.text();
 *     let logits = await text.prefill(engine.encode('The sea'));
 *     logits = await text.decode(id);
 *
 * Texts share steps by themselves: those that wait for their next token at the same time, by the same method, are
 * decoded in one step, and chunks of prompts run between steps. What is guaranteed:
 *
 * - A decode step gives each text the logits it would have alone, but for the sparsity method: rows share their
 *   neurons, so each is computed with at least what it chose.
 * - Calls may be made without awaiting others. Those of one text run in the order they were made, and each gets
 *   its own result; nobody waits for more of a long prompt than one chunk at a time.
 * - Who does not ask for a next token is not waited for.
 * - A call that fails, or a text that ends, leaves other texts as they were. A step that fails rejects the calls
 *   that were in it.
 *
 * Places may also be used by their numbers: `admit`, `prefill`, `decode` of chosen texts in one step, `release`.
 */
export class Batch extends Texts {
  /** A new text in a free place, which it has until it is disposed of. Throws `BAD_REQUEST`, `DISPOSED`. */
  text({ method = this.method, policy }: TextOptions = {}): Session {
    this.expectOpen();
    if (policy) expectPolicy(this.cache.policy, policy);
    return new Session(this, { method, end: (text) => this.release(text) });
  }

  /**
   * Add one token to each of n texts in a step of their own, through the method, the batch's unless told
   * otherwise; returns logits [n, V], in the order of the ids.
   */
  async decode(
    sequences: ArrayLike<number>,
    ids: ArrayLike<number>,
    method = this.method,
  ): Promise<Float32Array> {
    const ask = { logits: 'all', method } as const;
    return this.extend(eachOnce(sequences, ids), ask, (step) => step.logits());
  }

  /** Where the time of such a step goes; undefined where the backend cannot tell. */
  async timeDecode(
    sequences: ArrayLike<number>,
    ids: ArrayLike<number>,
    method = this.method,
  ): Promise<StepTimes | undefined> {
    const ask = { logits: 'all', method, timed: true } as const;
    return this.extend(eachOnce(sequences, ids), ask, (step) => Promise.resolve(step.times));
  }
}

function eachOnce(sequences: ArrayLike<number>, ids: ArrayLike<number>) {
  const rows = { tokens: Int32Array.from(ids), sequences: Int32Array.from(sequences) };
  if (rows.tokens.length === sequences.length && new Set(rows.sequences).size === ids.length)
    return rows;
  throw new EngineError(
    'BAD_REQUEST',
    `batch: ${ids.length} ids for texts ${rows.sequences.join(', ')}, expected one id for each of different texts`,
  );
}

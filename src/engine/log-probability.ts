import { likeliest, logProbabilities } from './sampler.ts';

/** How likely an id was, beside the likeliest ones. */
export interface LogProbability {
  /** The id. */
  readonly id: number;
  /** Natural logarithm, before temperature and filters. */
  readonly logprob: number;
  /** The likeliest ids, likeliest first; the id itself may be another. */
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

/** Of an id under logits [V], with `count` alternatives. */
export function describe(logits: Float32Array, id: number, count: number): LogProbability {
  const ids = Array.from(likeliest(logits, count));
  const [logprob, ...others] = logProbabilities(logits, [id, ...ids]);
  return { id, logprob, top: ids.map((other, i) => ({ id: other, logprob: others[i] })) };
}

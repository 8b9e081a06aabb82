import { EngineError, expectWhole } from '../errors.ts';
import { uniform } from '../random.ts';

/** How an id is chosen from logits. */
export interface SamplingOptions {
  /** 0 is greedy: the likeliest id, the first of equals. Default 0.8. */
  readonly temperature?: number;
  /** Keep the k likeliest ids; 0 keeps all. Default 40. */
  readonly topK?: number;
  /** Keep the fewest ids whose probability reaches p; 1 keeps all. Default 0.95. */
  readonly topP?: number;
  /** Keep ids at least this share as likely as the likeliest; 0 keeps all. Default 0.05. */
  readonly minP?: number;
  /**
   * Whether the temperature divides logits before top-k, top-p and min-p see them, as transformers and vLLM have it, or
   * only those that are left, as llama.cpp has it. Default `last`.
   */
  readonly temperatureOrder?: 'first' | 'last';
  /** The same seed and options give the same ids. Default 0. */
  readonly seed?: number;
  /** Divides positive logits of ids among the last ones and multiplies others; 1 does nothing. Default 1. */
  readonly repeatPenalty?: number;
  /** Ids, the prompt's too, that the three penalties look back at; 0 none, -1 all. Default 64. */
  readonly repeatLastN?: number;
  /** Taken from the logit of every id among the last ones; negative favours them. Default 0. */
  readonly presencePenalty?: number;
  /** Taken from the logit of an id for each time it is among the last ones. Default 0. */
  readonly frequencyPenalty?: number;
  /** Added to logits, by id; `-Infinity` or `false` rules an id out. Default: nothing. */
  readonly logitBias?: Readonly<Record<number, number | false>>;
}

/** Picks one id from logits [V] that follow `before`: all ids so far, the prompt's too. */
export type Sampler = (logits: Float32Array, before?: ArrayLike<number>) => number;

/** What an id is drawn from: ids, likeliest first, and their probabilities, which sum to one. */
export interface Candidates {
  readonly ids: Uint32Array;
  readonly probabilities: Float64Array;
}

/**
 * A sampler of logits over `vocabulary` ids. Throws `BAD_REQUEST`.
 *
 *     const sample = createSampler({ temperature: 0.8, seed: 7 });
 *     const id = sample(await session.prefill(ids), ids);
 */
export function createSampler(options: SamplingOptions, vocabulary = Infinity): Sampler {
  const sampling = resolve(options, vocabulary);
  if (sampling.temperature === 0)
    return (logits, before = []) => argmax(adjust(logits, before, sampling));
  const random = uniform(sampling.seed);
  return (logits, before = []) => {
    const { ids, probabilities } = filter(adjust(logits, before, sampling), sampling);
    let left = random();
    for (let i = 0; i < ids.length; i++) if ((left -= probabilities[i]) < 0) return ids[i];
    return ids[0];
  };
}

/** What a sampler at a temperature above 0 draws from. */
export function candidates(
  logits: Float32Array,
  before: ArrayLike<number>,
  options: SamplingOptions,
): Candidates {
  const sampling = resolve(options, logits.length);
  check('temperature', sampling.temperature, sampling.temperature > 0, 'above 0');
  return filter(adjust(logits, before, sampling), sampling);
}

type Sampling = Required<Omit<SamplingOptions, 'logitBias'>> & {
  readonly biases: readonly (readonly [id: number, bias: number])[];
};

function resolve(options: SamplingOptions, vocabulary: number): Sampling {
  const { temperature = 0.8, topK = 40, topP = 0.95, minP = 0.05, seed = 0 } = options;
  const { temperatureOrder = 'last', repeatPenalty = 1, repeatLastN = 64 } = options;
  const { presencePenalty = 0, frequencyPenalty = 0, logitBias = {} } = options;
  check('temperature', temperature, temperature >= 0, 'at least 0');
  expectWhole('topK', topK, 0);
  check('topP', topP, topP > 0 && topP <= 1, 'above 0 and at most 1');
  check('minP', minP, minP >= 0 && minP <= 1, 'from 0 to 1');
  if (!['first', 'last'].includes(temperatureOrder))
    throw refusal(`\`temperatureOrder\` is ${temperatureOrder}`, 'first or last');
  expectWhole('seed', seed, 0);
  check('repeatPenalty', repeatPenalty, repeatPenalty > 0 && repeatPenalty < Infinity, 'above 0');
  expectWhole('repeatLastN', repeatLastN, -1);
  check('presencePenalty', presencePenalty, Number.isFinite(presencePenalty), 'a finite number');
  check('frequencyPenalty', frequencyPenalty, Number.isFinite(frequencyPenalty), 'a finite number');
  const biases = Object.entries(logitBias).map(([key, given]) => {
    const [id, bias] = [Number(key), given === false ? -Infinity : given];
    if (!(Number.isInteger(id) && id >= 0 && id < vocabulary))
      throw refusal(`\`logitBias\` names id ${key}`, `ids below ${vocabulary}`);
    if (!(bias < Infinity))
      throw refusal(`\`logitBias\` of id ${key} is ${bias}`, 'a number below Infinity');
    return [id, bias] as const;
  });
  const penalties = { repeatPenalty, repeatLastN, presencePenalty, frequencyPenalty };
  return { temperature, topK, topP, minP, temperatureOrder, seed, ...penalties, biases };
}

function check(option: string, value: number, ok: boolean, expected: string): void {
  if (!ok) throw refusal(`\`${option}\` is ${value}`, expected);
}

const refusal = (found: string, expected: string): EngineError =>
  new EngineError('BAD_REQUEST', `sampling: ${found}, expected ${expected}; correct it`);

/** Logits with bias and penalties, in llama.cpp's order and by its rules; where there are none, as they are. */
function adjust(logits: Float32Array, before: ArrayLike<number>, sampling: Sampling): Float32Array {
  const { biases, repeatPenalty, repeatLastN, presencePenalty, frequencyPenalty } = sampling;
  const neutral = repeatPenalty === 1 && presencePenalty === 0 && frequencyPenalty === 0;
  const penalized = neutral ? new Map<number, number>() : counts(before, repeatLastN);
  if (biases.length + penalized.size === 0) return logits;
  const scores = logits.slice();
  for (const [id, bias] of biases) scores[id] += bias;
  for (const [id, count] of penalized) {
    // Dividing a negative logit would make the id likelier.
    if (scores[id] <= 0) scores[id] *= repeatPenalty;
    else scores[id] /= repeatPenalty;
    scores[id] -= count * frequencyPenalty + presencePenalty;
  }
  if (scores[argmax(scores)] === -Infinity)
    throw new EngineError(
      'BAD_REQUEST',
      'sampling: `logitBias` rules out every id, expected that one is left; rule out fewer',
    );
  return scores;
}

/** How often each id occurs among the last `n`; all of them where n is -1. */
function counts(ids: ArrayLike<number>, n: number): Map<number, number> {
  const found = new Map<number, number>();
  for (let i = n < 0 ? 0 : Math.max(0, ids.length - n); i < ids.length; i++)
    found.set(ids[i], (found.get(ids[i]) ?? 0) + 1);
  return found;
}

/** Top-k, top-p, min-p, and the temperature after them or before. */
function filter(scores: Float32Array, sampling: Sampling): Candidates {
  const { temperature, topK, topP, minP, temperatureOrder } = sampling;
  const count = topK === 0 ? scores.length : Math.min(topK, scores.length);
  let ids = likeliest(scores, count);
  const shares = softmax(ids, scores, temperatureOrder === 'first' ? temperature : 1);
  if (topP < 1) {
    let mass = 0;
    let kept = 0;
    while (kept < ids.length && mass < topP) mass += shares[kept++];
    ids = ids.subarray(0, kept);
  }
  if (minP > 0) ids = ids.filter((_, i) => shares[i] >= minP * shares[0]);
  return { ids, probabilities: softmax(ids, scores, temperature) };
}

/** The likeliest id; of equals, the first. */
export function argmax(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  return best;
}

/**
 * log p(id), natural, under logits [V]. Throws nothing.
 *
 *     const loss = -logProbability(await session.decode(id), next);
 */
export const logProbability = (logits: Float32Array, id: number): number =>
  logProbabilities(logits, [id])[0];

/** log p of each id, natural, under logits [V]. */
export function logProbabilities(logits: Float32Array, ids: readonly number[]): number[] {
  const peak = logits[argmax(logits)];
  let total = 0;
  for (const x of logits) total += Math.exp(x - peak);
  return ids.map((id) => logits[id] - peak - Math.log(total));
}

/** Up to so many, ids are inserted one by one; more are sorted out of all. */
const few = 64;

/** The `count` likeliest ids, likeliest first; of equals, the first. */
export function likeliest(logits: Float32Array, count: number): Uint32Array {
  if (count < logits.length && count <= few) return insertLikeliest(logits, count);
  const ids = Uint32Array.from(logits.keys());
  const order = (a: number, b: number): number => logits[b] - logits[a] || a - b;
  if (count >= ids.length) return ids.sort(order);
  // Few are wanted of many: find the smallest logit that can stay first, then sort what passes it.
  const bound = Float32Array.from(logits).sort()[logits.length - count];
  return ids
    .filter((id) => logits[id] >= bound)
    .sort(order)
    .subarray(0, count);
}

/** One pass over the logits: most are below the least likely of those that are kept. */
function insertLikeliest(logits: Float32Array, count: number): Uint32Array {
  const ids = new Uint32Array(count);
  let kept = 0;
  for (let id = 0; id < logits.length && count > 0; id++) {
    if (kept === count && logits[id] <= logits[ids[count - 1]]) continue;
    let at = kept < count ? kept++ : count - 1;
    for (; at > 0 && logits[ids[at - 1]] < logits[id]; at--) ids[at] = ids[at - 1];
    ids[at] = id;
  }
  return ids;
}

function softmax(ids: Uint32Array, logits: Float32Array, temperature: number): Float64Array {
  const peak = logits[ids[0]];
  const weights = Float64Array.from(ids, (id) => Math.exp((logits[id] - peak) / temperature));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / total);
}

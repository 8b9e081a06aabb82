import { EngineError } from '../errors.ts';

export interface SamplingOptions {
  /** 0 is greedy: the likeliest id, the first of equals. Default 0.8. */
  readonly temperature?: number;
  /** Keep the k likeliest ids; 0 keeps all. Default 40. */
  readonly topK?: number;
  /** Keep the fewest ids whose probability reaches p; 1 keeps all. Default 0.95. */
  readonly topP?: number;
  /** Keep ids at least this share as likely as the likeliest; 0 keeps all. Default 0.05. */
  readonly minP?: number;
  /** The same seed and options give the same ids. Default 0. */
  readonly seed?: number;
}

/** Picks one id from logits [V]. */
export type Sampler = (logits: Float32Array) => number;

/** Filters run in llama.cpp's order: top-k, top-p, min-p, then the draw at the temperature. */
export function createSampler(options: SamplingOptions): Sampler {
  const { temperature = 0.8, topK = 40, topP = 0.95, minP = 0.05, seed = 0 } = options;
  check('temperature', temperature, temperature >= 0);
  check('top-k', topK, Number.isInteger(topK) && topK >= 0);
  check('top-p', topP, topP > 0 && topP <= 1);
  check('min-p', minP, minP >= 0 && minP <= 1);
  check('seed', seed, Number.isSafeInteger(seed) && seed >= 0);
  if (temperature === 0) return argmax;

  const random = uniform(seed);
  return (logits) => {
    const count = topK === 0 ? logits.length : Math.min(topK, logits.length);
    let ids = likeliest(logits, count);
    const probabilities = softmax(ids, logits, 1);
    if (topP < 1) {
      let mass = 0;
      let kept = 0;
      while (kept < ids.length && mass < topP) mass += probabilities[kept++];
      ids = ids.subarray(0, kept);
    }
    if (minP > 0) ids = ids.filter((_, i) => probabilities[i] >= minP * probabilities[0]);
    const weights = softmax(ids, logits, temperature);
    let left = random();
    for (let i = 0; i < ids.length; i++) if ((left -= weights[i]) < 0) return ids[i];
    return ids[0];
  };
}

function check(name: string, value: number, ok: boolean): void {
  if (!ok)
    throw new EngineError('BAD_REQUEST', `sampling: ${name} is ${value}, outside what it may be`);
}

/** The likeliest id; of equals, the first. */
export function argmax(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  return best;
}

/** log p(id), natural, under logits [V]. */
export function logProbability(logits: Float32Array, id: number): number {
  const peak = logits[argmax(logits)];
  let total = 0;
  for (const x of logits) total += Math.exp(x - peak);
  return logits[id] - peak - Math.log(total);
}

/** The `count` likeliest ids, likeliest first. */
export function likeliest(logits: Float32Array, count: number): Uint32Array {
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

function softmax(ids: Uint32Array, logits: Float32Array, temperature: number): Float64Array {
  const peak = logits[ids[0]];
  const weights = Float64Array.from(ids, (id) => Math.exp((logits[id] - peak) / temperature));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / total);
}

/** Uniform numbers in [0, 1) from a seed (splitmix-seeded xoshiro128**). */
export function uniform(seed: number): () => number {
  let mix = (seed >>> 0) ^ Math.floor(seed / 2 ** 32);
  const next = (): number => {
    mix = (mix + 0x9e3779b9) | 0;
    let z = mix;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return z ^ (z >>> 16);
  };
  let [a, b, c, d] = [next(), next(), next(), next()];
  return () => {
    const product = Math.imul(b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9);
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = (d << 11) | (d >>> 21);
    return (result >>> 0) / 2 ** 32;
  };
}

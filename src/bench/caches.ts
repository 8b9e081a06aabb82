import { chooseKeeping, findPolicy, type KeepingOptions } from '../engine/keeping.ts';
import { EngineError } from '../errors.ts';
import type { KVOptions, KVPolicy } from '../kv.ts';
import { cacheBytes, cacheShape } from '../kv/cache.ts';
import { optionNames } from '../kv/parts/budget.ts';
import { layoutOf } from '../kv/parts/layout.ts';
import type { Description } from '../model.ts';
import type { CacheType } from '../ops/attention.ts';

/** How a cache comes by the tokens before decoding: they are computed, or its content is random numbers. */
export type Filling = 'prefill' | 'random';

/** A policy by its name, or with a budget of its own. */
export type AskedPolicy = string | { readonly kv: string; readonly kvBudget: number };

/** Options that say how much a policy keeps. */
const shares = ['sinks', 'heavy', 'recent', 'kvBudget'] as const;
type Shares = (typeof shares)[number];

/** What a policy calls them. */
const asTaken = (option: Shares): keyof KVOptions => (option === 'kvBudget' ? 'budget' : option);

/** In which caches decoding is measured. */
export interface CacheOptions extends Pick<KeepingOptions, Shares | 'kvType'> {
  /** Tokens of a text when decoding begins, and tokens of a prefill; each of several is measured. Default 128. */
  readonly context?: number | readonly number[];
  /** KV policies to compare; `sinks` and so on are for those that take them. Default: `full`. */
  readonly kv?: AskedPolicy | readonly AskedPolicy[];
  /** Default: `prefill` up to 4096 tokens, `random` beyond. */
  readonly fill?: Filling;
}

/** Tokens that are computed unless told otherwise. */
const computed = 4096;

/** Contexts and policies to measure, of which each pair is a cache. */
export interface AskedCaches {
  readonly contexts: readonly number[];
  readonly policies: readonly KeepingOptions[];
  readonly fill: (context: number) => Filling;
}

/** A cache under measurement. */
export interface CachePlan {
  readonly context: number;
  readonly policy: KVPolicy;
  readonly type: CacheType;
  readonly filled: Filling;
  /** Tokens one text may come to have. */
  readonly capacity: number;
  /** Texts are cut back before they are measured; others go on, at their budget. */
  readonly cutsBack: boolean;
}

/** What can be refused before there is a model. Throws `BAD_REQUEST`. */
export function askedCaches(options: CacheOptions): AskedCaches {
  const { context = 128, kv = 'full', kvType, fill } = options;
  const contexts = typeof context === 'number' ? [context] : context;
  if (contexts.length === 0 || !contexts.every((tokens) => Number.isInteger(tokens) && tokens >= 1))
    throw new EngineError(
      'BAD_REQUEST',
      `bench: context is ${contexts.join(', ') || 'empty'}, expected numbers of tokens, each at least 1`,
    );
  const asked = typeof kv === 'object' && !('kv' in kv) ? kv : [kv];
  if (asked.length === 0)
    throw new EngineError('BAD_REQUEST', 'bench: no KV policy, expected at least one, e.g. full');
  const names = asked.map((one) => (typeof one === 'string' ? one : one.kv));
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new EngineError(
      'BAD_REQUEST',
      `bench: \`kv\` names ${twice} twice, expected each policy once; measure it with another budget in a run of its own`,
    );
  const given = shares.filter((option) => options[option] !== undefined);
  const used = new Set<Shares>();
  const policies = asked.map((one): KeepingOptions => {
    const own = typeof one === 'string' ? { kv: one } : one;
    const { takes } = findPolicy({ kv: own.kv });
    const shared = given.filter((option) => takes.includes(asTaken(option)) && !(option in own));
    for (const option of shared) used.add(option);
    const chosen = {
      ...Object.fromEntries(shared.map((option) => [option, options[option]])),
      ...(kvType === undefined ? {} : { kvType }),
      ...own,
    };
    findPolicy(chosen);
    return chosen;
  });
  const idle = given.find((option) => !used.has(option));
  if (idle)
    throw new EngineError(
      'BAD_REQUEST',
      `bench: \`${optionNames[asTaken(idle)]}\` is given, which none of \`kv\` ${names.join(', ')} uses; leave it out`,
    );
  return {
    contexts,
    policies,
    fill: (tokens) => fill ?? (tokens <= computed ? 'prefill' : 'random'),
  };
}

/**
 * Every pair of a context and a policy, for a model. `steps` are decoded behind the context; where what
 * decoding evicted cannot be brought back, texts go on instead, by up to `all` steps.
 * Throws `BAD_REQUEST` where the model cannot do it.
 */
export function planCaches(
  { contexts, policies, fill }: AskedCaches,
  description: Description,
  { steps, all }: { readonly steps: number; readonly all: number },
): CachePlan[] {
  return contexts.flatMap((context) =>
    policies.map((options) => {
      const kind = findPolicy(options);
      const { policy, type } = chooseKeeping(kind, { ...options, context }, description);
      const behind = context + steps;
      const cutsBack =
        layoutOf(policy, behind, description.layers).cut(behind, context) === context;
      const capacity = cutsBack ? behind : context + all;
      if (description.positions === 'learned' && capacity > description.context)
        throw new EngineError(
          'BAD_REQUEST',
          `bench: with \`kv\` ${policy.name} and \`context\` ${context} texts grow to ${capacity} tokens, expected at most the model's ${description.context}; lower \`context\`, \`steps\`${cutsBack ? '' : ' or \`rounds\`'}`,
        );
      return { context, policy, type, filled: fill(context), capacity, cutsBack };
    }),
  );
}

/** Throws `OUT_OF_MEMORY` where the caches, all at once beside the weights, take more than the limit. */
export function expectCachesFit(
  plans: readonly CachePlan[],
  description: Description,
  sequences: number,
  weightBytes: number,
  limit = Infinity,
): void {
  const sizes = plans.map(({ policy, capacity, type }) =>
    cacheBytes(policy, cacheShape(description, capacity, sequences, type)),
  );
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  if (weightBytes + bytes <= limit) return;
  const { context, policy } = plans[sizes.indexOf(Math.max(...sizes))];
  throw new EngineError(
    'OUT_OF_MEMORY',
    `bench: caches of ${sequences} texts take ${bytes} bytes beside ${weightBytes} of weights, the largest ${Math.max(...sizes)} (${policy.name}, ${context} tokens); expected at most ${limit} together; lower \`context\`, \`batch\` or, of a shape, \`layers\`, or choose a smaller \`kvType\``,
  );
}

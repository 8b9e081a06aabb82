import { EngineError, expectWhole } from '../errors.ts';
import type { KVOptions, KVPolicy, PolicyKind } from '../kv.ts';
import { createPolicy, expectOptions } from '../kv/parts/budget.ts';
import { policies, type PolicyName } from '../kv/index.ts';
import type { Description } from '../model.ts';
import { type CacheType, cacheTypes } from '../ops/attention.ts';

export { cacheTypes };

/** What a cache keeps of a text, and as what. */
export interface KeepingOptions {
  /** KV policy. Default `full`. */
  readonly kv?: PolicyName | (string & {});
  /** Tokens the policy keeps: the first, the most looked at, the last. Defaults are the policy's own. */
  readonly sinks?: number;
  /** Tokens that the policy keeps by their score. Default: what is left of the budget. */
  readonly heavy?: number;
  /** Last tokens that the policy keeps. Default: by policy. */
  readonly recent?: number;
  /** All of them together, in tokens, or below 1 as a share of the context. */
  readonly kvBudget?: number;
  /** Type of keys and values in memory. Default f32. */
  readonly kvType?: CacheType;
  /**
   * Tokens the model sees at once. Default: the model's own limit; a greater one is taken from models without
   * learned positions, at the price of what they make of distances they never saw.
   */
  readonly context?: number;
}

export interface Keeping {
  readonly policy: KVPolicy;
  readonly type: CacheType;
  /** Tokens one text may have: the context, or as good as endless where the policy lets texts go on. */
  readonly context: number;
  /** Tokens the model sees at once, at most. */
  readonly span: number;
}

/** A text's length is an i32. */
const longest = 2 ** 31 - 1;

/** What can be refused before there is a model. Throws `BAD_REQUEST`. */
export function findPolicy(options: KeepingOptions): PolicyKind {
  const { kv = 'full', kvType = 'f32' } = options;
  const kind = policies.find(({ name }) => name === kv);
  if (!kind)
    throw new EngineError(
      'BAD_REQUEST',
      `\`kv\` is "${kv}", expected one of ${policies.map(({ name }) => name).join(', ')}`,
    );
  if (!cacheTypes.includes(kvType))
    throw new EngineError(
      'BAD_REQUEST',
      `\`kvType\` is "${String(kvType)}", expected one of ${cacheTypes.join(', ')}`,
    );
  expectOptions(kind, asked(options));
  return kind;
}

/** What the policy comes to for a model. Throws `BAD_REQUEST` where it cannot do it. */
export function chooseKeeping(
  kind: PolicyKind,
  options: KeepingOptions,
  description: Description,
): Keeping {
  const span = chooseContext(options.context, description);
  const { family, positions, layers } = description;
  const policy = createPolicy(kind, asked(options), { context: span, layers });
  if (policy.positions === 'compacted' && positions === 'learned')
    throw new EngineError(
      'BAD_REQUEST',
      `\`kv\` ${policy.name}: it moves tokens to other positions, which ${family} models cannot: they add a learned embedding of each position at the input; choose \`kv\` ${staying(description).join(', ')}`,
    );
  const type = options.kvType ?? 'f32';
  return { policy, type, context: contextOf(policy, description, span), span };
}

/**
 * Tokens that a text may have under a policy: where only differences of positions count and none exceeds the budget,
 * it has no end; else as many as the model sees at once.
 */
export function contextOf(
  { keeps, positions: kept }: KVPolicy,
  { positions }: Description,
  span: number,
): number {
  const bounded = keeps === 'windows' || kept === 'compacted';
  return positions !== 'learned' && bounded ? longest : span;
}

/** Policies that leave tokens at their positions. */
const staying = ({ context, layers }: Description): string[] =>
  policies
    .filter((kind) => kind.create({}, { context, layers }).positions === 'original')
    .map(({ name }) => name);

const asked = ({ sinks, heavy, recent, kvBudget: budget }: KeepingOptions): KVOptions => ({
  ...(sinks === undefined ? {} : { sinks }),
  ...(heavy === undefined ? {} : { heavy }),
  ...(recent === undefined ? {} : { recent }),
  ...(budget === undefined ? {} : { budget }),
});

function chooseContext(asked: number | undefined, { context, positions }: Description): number {
  if (asked === undefined) return context;
  const most = positions === 'learned' ? context : longest;
  expectWhole('context', asked, 1, most, most === context ? ', what the model sees' : '');
  return asked;
}

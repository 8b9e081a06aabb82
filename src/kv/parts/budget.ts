import { EngineError, expectWhole } from '../../errors.ts';
import type { KVOptions, KVPolicy, PolicyKind } from '../../kv.ts';

/** Tokens a policy keeps unless told otherwise: StreamingLLM's 4 + 1020. */
export const defaultBudget = (context: number): number => Math.min(1024, context);

/** Tokens a policy keeps of a text. */
export const budgetOf = ({ sinks, heavy, recent }: KVPolicy): number => sinks + heavy + recent;

/** What a caller calls the options (`OpenOptions`), for errors. */
export const optionNames = {
  sinks: 'sinks',
  heavy: 'heavy',
  recent: 'recent',
  budget: 'kvBudget',
};

/** Tokens of a text that are in the cache after a step, at most. */
export const mostKept = (policy: KVPolicy): number => budgetOf(policy) + (policy.score?.slack ?? 0);

/** A policy and its tokens, for people: `full`, `streaming 4+1020`, `h2o 4+204+204`. */
export function describePolicy(
  policy: Pick<KVPolicy, 'name' | 'sinks' | 'heavy' | 'recent'>,
): string {
  const { name, sinks, heavy, recent } = policy;
  if (recent === Infinity) return name;
  if (heavy) return `${name} ${sinks}+${heavy}+${recent}`;
  return `${name} ${sinks ? `${sinks}+` : ''}${recent}`;
}

/** What can be refused before there is a model: options it does not take, or that are no numbers of tokens. */
export function expectOptions({ name, takes }: PolicyKind, options: KVOptions): void {
  for (const [option, called] of Object.entries(optionNames) as [keyof KVOptions, string][]) {
    const value = options[option];
    if (value === undefined) continue;
    if (!takes.includes(option))
      throw new EngineError(
        'BAD_REQUEST',
        `\`kv\` ${name}: \`${called}\` is given, which it does not use; it takes ${takes.map((o) => `\`${optionNames[o]}\``).join(', ') || 'none'}`,
      );
    if (option === 'budget' && value > 0 && value < 1) continue;
    expectWhole(called, value, option === 'budget' ? 1 : 0);
  }
  const { sinks = 0, heavy = 0, recent, budget } = options;
  if (recent === 0 && sinks + heavy < 1 && budget === undefined)
    throw new EngineError(
      'BAD_REQUEST',
      `\`kv\` ${name}: ${sinks} sinks and ${recent} recent tokens, expected at least 1 together`,
    );
}

/** The policy for a model that sees `context` tokens. Throws `BAD_REQUEST` where it cannot keep what is asked. */
export function createPolicy(kind: PolicyKind, options: KVOptions, context: number): KVPolicy {
  const { budget } = options;
  const tokens = budget !== undefined && budget < 1 ? Math.round(budget * context) : budget;
  const policy = kind.create(
    { ...options, ...(tokens === undefined ? {} : { budget: tokens }) },
    context,
  );
  const { name, sinks, heavy, recent } = policy;
  const total = budgetOf(policy);
  const parts = `${sinks} sinks, ${heavy} heavy hitters and ${recent} recent tokens`;
  if (total < 1 || heavy < 0 || recent < 0 || (!policy.score && recent < 1))
    throw new EngineError(
      'BAD_REQUEST',
      `\`kv\` ${name}: the budget leaves ${parts}, expected none below 0${policy.score ? '' : ', at least 1 recent,'} and at least 1 together; raise \`kvBudget\``,
    );
  if (tokens !== undefined && total !== tokens)
    throw new EngineError(
      'BAD_REQUEST',
      `\`kv\` ${name}: ${parts} are ${total} together, expected the budget of ${tokens}; leave one of them out`,
    );
  if (total !== Infinity && total > context)
    throw new EngineError(
      'BAD_REQUEST',
      `\`kv\` ${name}: it would keep ${total} tokens, expected at most the context of ${context}; lower \`kvBudget\` or \`recent\``,
    );
  return policy;
}

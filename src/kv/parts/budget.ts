import { EngineError, expectWhole } from '../../errors.ts';
import type { Budget, KVOptions, KVPolicy, KVSubject, PolicyKind } from '../../kv.ts';

/** Tokens a policy keeps unless told otherwise: StreamingLLM's 4 + 1020. */
export const defaultBudget = (context: number): number => Math.min(1024, context);

const everything: Budget = { sinks: 0, heavy: 0, recent: Infinity };

/** What a policy keeps, or reads, in a layer. */
export const budgetAt = (policy: KVPolicy, layer: number): Budget => {
  if (policy.keeps === 'all') return everything;
  const { budget } = policy;
  return 'sinks' in budget ? budget : budget[layer];
};

export const tokensOf = ({ sinks, heavy, recent }: Budget): number => sinks + heavy + recent;

/** Tokens a policy keeps, or reads, of a text: of layers with budgets of their own the mean, rounded. */
export const budgetOf = (policy: KVPolicy): number => tokensOf(meanBudget(policy));

/** What a policy keeps, or reads, in a layer on average, rounded. */
export function meanBudget(policy: KVPolicy): Budget {
  if (policy.keeps === 'all' || 'sinks' in policy.budget) return budgetAt(policy, 0);
  const { budget } = policy;
  const mean = (of: keyof Budget): number =>
    Math.round(budget.reduce((sum, one) => sum + one[of], 0) / budget.length);
  return { sinks: mean('sinks'), heavy: mean('heavy'), recent: mean('recent') };
}

/** Windows of so many tokens, and what is left of `total` between them. */
export const between = (total: number, sinks: number, recent: number): Budget => ({
  sinks,
  heavy: total - sinks - recent,
  recent,
});

/** What is asked of `total` tokens; what nobody asked for is split evenly between the windows' last and the ranked. */
export function halves({ sinks = 4, heavy, recent }: KVOptions, total: number): Budget {
  const rest = total - sinks;
  const newest = recent ?? (heavy === undefined ? Math.ceil(rest / 2) : rest - heavy);
  return { sinks, heavy: heavy ?? rest - newest, recent: newest };
}

/** What a caller calls the options (`OpenOptions`), for errors. */
export const optionNames = {
  sinks: 'sinks',
  heavy: 'heavy',
  recent: 'recent',
  budget: 'kvBudget',
};

/** A policy and its tokens, for people: `full`, `streaming 4+1020`, `h2o 4+204+204`; of several budgets the mean. */
export function describePolicy(policy: KVPolicy): string {
  if (policy.keeps === 'all') return policy.name;
  return describeBudget(policy.name, meanBudget(policy));
}

/** The same, of what was asked or is reported. */
export function describeBudget(name: string, { sinks, heavy, recent }: Budget): string {
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

/** The policy for a model. Throws `BAD_REQUEST` where it cannot keep what is asked. */
export function createPolicy(kind: PolicyKind, options: KVOptions, subject: KVSubject): KVPolicy {
  const { context, layers } = subject;
  const { budget } = options;
  const tokens = budget !== undefined && budget < 1 ? Math.round(budget * context) : budget;
  const policy = kind.create(
    { ...options, ...(tokens === undefined ? {} : { budget: tokens }) },
    subject,
  );
  if (policy.keeps === 'all') return policy;
  if (!('sinks' in policy.budget) && policy.budget.length !== layers)
    throw new EngineError(
      'INTERNAL',
      `kv ${policy.name}: ${policy.budget.length} budgets for ${layers} layers`,
    );
  for (let layer = 0; layer < ('sinks' in policy.budget ? 1 : layers); layer++)
    expectKept(policy, budgetAt(policy, layer), context);
  const total = budgetOf(policy);
  if (tokens !== undefined && !('sinks' in policy.budget))
    expectMean(policy, policy.budget, tokens);
  if (tokens !== undefined && 'sinks' in policy.budget && total !== tokens)
    throw new EngineError(
      'BAD_REQUEST',
      `\`kv\` ${policy.name}: ${partsOf(policy.budget)} are ${total} together, expected the budget of ${tokens}; leave one of them out`,
    );
  return policy;
}

/** Layers may share a budget as they like, to a token a layer that rounding takes. */
function expectMean({ name }: KVPolicy, budgets: readonly Budget[], tokens: number): void {
  const mean = budgets.reduce((sum, one) => sum + tokensOf(one), 0) / budgets.length;
  if (Math.abs(mean - tokens) <= 1) return;
  throw new EngineError(
    'BAD_REQUEST',
    `\`kv\` ${name}: its layers keep ${mean} tokens on average, expected the budget of ${tokens}; leave one of its options out`,
  );
}

const partsOf = ({ sinks, heavy, recent }: Budget): string =>
  `${sinks} sinks, ${heavy} heavy hitters and ${recent} recent tokens`;

function expectKept({ name, keeps }: KVPolicy, budget: Budget, context: number): void {
  const { heavy, recent } = budget;
  const total = tokensOf(budget);
  const ranks = keeps !== 'windows';
  if (total < 1 || heavy < 0 || recent < 0 || (!ranks && recent < 1))
    throw new EngineError(
      'BAD_REQUEST',
      `\`kv\` ${name}: the budget leaves ${partsOf(budget)}, expected none below 0${ranks ? '' : ', at least 1 recent,'} and at least 1 together; raise \`kvBudget\``,
    );
  if (total > context)
    throw new EngineError(
      'BAD_REQUEST',
      `\`kv\` ${name}: it would keep ${total} tokens, expected at most the context of ${context}; lower \`kvBudget\` or \`recent\``,
    );
}

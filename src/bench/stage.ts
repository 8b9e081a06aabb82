import type { Batch } from '../engine/batch.ts';
import { uniform } from '../random.ts';
import type { StepTimes } from '../engine/step-times.ts';
import type { Usage } from '../engine/usage.ts';
import { budgetOf } from '../kv/parts/budget.ts';
import type { CacheType } from '../ops/attention.ts';
import type { Sparsity } from '../sparsity.ts';
import type { CachePlan } from './caches.ts';
import { spread, timed } from './spread.ts';

/** Texts of one context in one cache. */
export interface Stage {
  readonly plan: CachePlan;
  readonly batch: Batch;
  readonly prompts: readonly Int32Array[];
  /** Tokens a second of each round's prefill. */
  readonly prefill: number[];
}

/** One method at one number of texts of a stage. */
export interface Entrant {
  readonly stage: Stage;
  readonly method: Sparsity;
  readonly texts: Int32Array;
  readonly usage: Usage;
  /** Tokens a second of all texts together, by round. */
  readonly decode: number[];
  /** Tokens of a text that are in the cache after the latest round. */
  kept: number;
}

/** What the cache of a run keeps. */
export interface BenchKV {
  /** By name, with its tokens. */
  readonly policy: string;
  /** Type of keys and values. */
  readonly type: CacheType;
  /** Tokens of a text that the policy keeps; null: all. */
  readonly budget: number | null;
  /** Bytes allocated for the texts of the run, whether in use or not. */
  readonly residentBytes: number;
  /** Tokens of a text that are in the cache after the last measured step. */
  readonly keptTokens: number;
}

/** Prompts of the plan's length, and what is known of them in the cache: computed, or made up. */
export async function openStage(
  batch: Batch,
  plan: CachePlan,
  vocabulary: number,
  signal?: AbortSignal,
): Promise<Stage> {
  const prompts = Array.from({ length: batch.sequences }, (_, text) =>
    Int32Array.from({ length: plan.context }, (_, i) => ((i + text * 31) * 7919 + 13) % vocabulary),
  );
  const random = uniform(1);
  for (const prompt of prompts) {
    signal?.throwIfAborted();
    const text = batch.admit();
    if (plan.filled === 'random') batch.fill(text, prompt.length, random);
    else await batch.prefill(text, prompt, signal);
  }
  return { plan, batch, prompts, prefill: [] };
}

/** The first prompt anew, where prompts are computed. */
export async function prefillAgain(
  { plan, batch, prompts, prefill }: Stage,
  counts: boolean,
  signal?: AbortSignal,
): Promise<void> {
  if (plan.filled === 'random') return;
  batch.truncate(0, 0);
  const seconds = await timed(() => batch.prefill(0, prompts[0], signal));
  if (counts) prefill.push(plan.context / seconds);
}

/** Decode `steps` tokens of each text. */
export async function decodeSome(entrant: Entrant, steps: number, counts: boolean): Promise<void> {
  const { stage, method, texts, usage, decode } = entrant;
  const { batch } = stage;
  cutBack(entrant);
  const seconds = await timed(async () => {
    for (let i = 0; i < steps; i++) await batch.decode(texts, nextIds(entrant, i), method);
  });
  entrant.kept = batch.kept(0);
  if (!counts) return;
  decode.push((steps * texts.length) / seconds);
  usage.add(await batch.usage());
}

/** Steps whose times are taken, after the rounds: taking them costs a little. */
export const timedSteps = 9;

/** Where the time of steps goes, as medians over some steps. */
export async function stepTimes(entrant: Entrant): Promise<StepTimes | null> {
  const { stage, method, texts } = entrant;
  const all: StepTimes[] = [];
  for (let i = 0; i < timedSteps; i++) {
    cutBack(entrant);
    const times = await stage.batch.timeDecode(texts, nextIds(entrant, i), method);
    if (!times) return null;
    all.push(times);
  }
  const median = (kind: keyof StepTimes): number => spread(all.map((times) => times[kind])).median;
  return {
    whole: median('whole'),
    selected: median('selected'),
    attention: median('attention'),
    choosing: median('choosing'),
    rest: median('rest'),
    waiting: median('waiting'),
  };
}

/** To the end of the prompts, where the cache can: elsewhere texts go on. */
function cutBack({ stage: { plan, batch }, texts }: Entrant): void {
  if (plan.cutsBack) for (const text of texts) batch.truncate(text, plan.context);
}

const nextIds = ({ stage: { plan, prompts }, texts }: Entrant, i: number): Int32Array =>
  texts.map((text) => prompts[text][i % plan.context]);

/** Of so many texts, of which each keeps so many tokens. */
export function describeCache({ plan, batch }: Stage, texts: number, keptTokens: number): BenchKV {
  const { policy, type } = plan;
  const budget = budgetOf(policy);
  return {
    policy: policy.name,
    type,
    budget: Number.isFinite(budget) ? budget : null,
    residentBytes: (batch.cache.residentBytes / batch.sequences) * texts,
    keptTokens,
  };
}

/** The other keeps everything of a text as long. */
export const isFullBeside = ({ plan: { policy, context } }: Stage, { plan }: Stage): boolean =>
  policy.keeps === 'all' && context === plan.context;

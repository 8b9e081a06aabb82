import type { Engine } from '../engine/engine.ts';
import type { GenerateOptions, GenerateResult, Prompt } from '../engine/generate.ts';
import type { Session } from '../engine/session.ts';
import type { Usage } from '../engine/usage.ts';
import type { KVPolicy } from '../kv.ts';
import type { Sparsity } from '../sparsity.ts';
import type { ItemFile } from './items.ts';
import type { NoOptions, TaskOptions, ValuesOf } from './options.ts';

/** Of a list of tasks: their items and options may be any. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- a task takes its own items alone, and is given them
export type AnyItem = any;

/**
 * One evaluation: what is run, and how it is scored. It scores a text, or the items of a file; its options are
 * its own, and one that no chosen task has is refused.
 *
 *     const first = defineTask({
 *       name: 'first-word',
 *       summary: 'how often the likeliest first id of an answer is right',
 *       version: 1,
 *       items: { file: 'questions.jsonl', item: z.object({ question: z.string(), answer: z.string() }) },
 *       async run(engine, {}, { items, generate }) {
 *         let right = 0;
 *         for (const { question, answer } of items)
 *           if ((await generate(question, { maxTokens: 1 })).text.trim() === answer) right++;
 *         return { metrics: { acc: right / items.length }, n: items.length };
 *       },
 *     });
 */
export interface Task<Item = AnyItem, O extends TaskOptions = AnyItem> {
  /** As lm-evaluation-harness calls it, where that has the same. */
  readonly name: string;
  /** For people, in a table of tasks: what is measured. */
  readonly summary: string;
  /** Raised whenever scores change. */
  readonly version: number;
  /** The file of its items in the folder of `data`. Absent: it scores `text`. */
  readonly items?: ItemFile<Item>;
  /** Options it takes beside those of every task. Default: none. */
  readonly options?: O;
  /** Its result has a curve. Default false. */
  readonly hasCurve?: boolean;
  /** Score the model that is open. */
  run(engine: Engine, options: ValuesOf<O>, run: TaskRun<Item>): Promise<TaskResult>;
}

/**
 * A task, with the types of its items and options inferred; throws nothing.
 *
 *     const mine = defineTask({ name: 'mine', summary: '…', version: 1, run: async (engine, options, { texts }) => … });
 */
export const defineTask = <Item = never, const O extends TaskOptions = NoOptions>(
  task: Task<Item, O>,
): Task<Item, O> => task;

/** What a running task is given besides its options. */
export interface TaskRun<Item = unknown> {
  /** Of its file, checked, `limit` at most; none for a task that scores a text. */
  readonly items: readonly Item[];
  /** What a task without items scores: texts that follow one another; at least one. */
  readonly texts: readonly string[];
  /** Score at most this many ids of the texts. */
  readonly limit: number | undefined;
  /** Computes the decode steps. */
  readonly method: Sparsity;
  /** What caches keep. */
  readonly policy: KVPolicy;
  /** Decode steps are added to it; those of `generate` are. */
  readonly usage: Usage;
  /** A new text under the method and policy that are tested. */
  readonly session: () => Session;
  /** Continue a prompt under the method and policy that are tested, greedily where nothing else is asked for. */
  readonly generate: (prompt: Prompt, options?: GenerateOptions) => Promise<GenerateResult>;
  /** Ends the task between steps. */
  readonly signal: AbortSignal | undefined;
  /** Share of the task that is done, 0 to 1. */
  readonly onProgress: (share: number) => void;
  /** Called with each point of a curve as it is known. */
  readonly onPoint?: (point: CurvePoint) => void;
  /** Bytes the process holds in memory; points of a curve tell them where it is given. */
  readonly rssBytes?: () => number;
}

/** What a task answers. */
export interface TaskResult {
  /** By name; losses in nats, perplexities and shares as numbers. */
  readonly metrics: Readonly<Record<string, number>>;
  /** How many were scored, in what `limit` counts. */
  readonly n: number;
  /** Items whose context lost its beginning, so that the end fits the model. Absent: none. */
  readonly shortened?: number;
  /** Where the task has one. */
  readonly curve?: readonly CurvePoint[];
  /** What ended a text that might have gone on: its own end, `limit`, or that of the context. */
  readonly ended?: 'text' | 'limit' | 'context';
}

/** A stretch of a text: how well it was predicted, and what that took. */
export interface CurvePoint {
  /** Scored by its end, from the beginning of the text. */
  readonly tokens: number;
  /** Of the stretch alone. */
  readonly perplexity: number;
  /** Milliseconds a token took, of the stretch alone. */
  readonly msPerToken: number;
  /** The cache's. */
  readonly residentBytes: number;
  /** The process's, in memory. */
  readonly rssBytes?: number;
}

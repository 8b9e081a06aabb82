import type { Engine } from '../engine/engine.ts';
import type { BytesPerToken, Density } from '../engine/usage.ts';
import { meanBudget } from '../kv/parts/budget.ts';
import type { Folder } from '../source.ts';
import { readItems } from './items.ts';
import { expectAsked } from './asked.ts';
import type { NoOptions, TaskOptions, ValuesOf } from './options.ts';
import { runOf, type Tested } from './run.ts';
import type { AnyItem, CurvePoint, Task, TaskResult, TaskRun } from './task.ts';
import { findTask, type KnownOptions } from './tasks/index.ts';

/** What to score, under which method and policy, and who hears how far it is. */
export interface EvaluateInput extends Tested {
  /** What tasks without items score: a text, or several that follow one another. Not the name of a file. */
  readonly text?: string | readonly string[];
  /** Where the files of items lie: those of each task by the name that it has. */
  readonly data?: Folder;
  /** Score at most this many: ids of a text, items of a file. Default: all. */
  readonly limit?: number;
  /** Share of a task that is done, 0 to 1. */
  readonly onProgress?: (task: string, share: number) => void;
  /** A point of a task's curve, as soon as it is known. */
  readonly onPoint?: (task: string, point: CurvePoint) => void;
  /** Bytes the process holds in memory, for the points of curves. Absent: they leave it out. */
  readonly rssBytes?: TaskRun['rssBytes'];
}

/** What to score, and options of the tasks that are listed (`tasks`). */
export type EvaluateOptions = EvaluateInput & KnownOptions;

/** What the tasks scored, and what their decode steps cost. */
export interface EvaluateResult {
  /** The name or path it was opened by. */
  readonly model: string;
  /** Its model family. */
  readonly family: string;
  /** What ran it. */
  readonly backend: string;
  /** Type of weights in memory. */
  readonly weights: string;
  /** The method that decode steps asked. */
  readonly sparsity: string;
  /** What the cache keeps, in tokens (`recent` is absent where it is all), and as what. */
  readonly kv: {
    readonly policy: string;
    readonly type: string;
    readonly sinks: number;
    readonly heavy: number;
    readonly recent?: number;
  };
  /** By task. */
  readonly results: Readonly<Record<string, TaskResult & Pick<Task, 'version'>>>;
  /** Decode steps, mean. */
  readonly density: Density;
  /** Bytes that decode steps read for one token, mean. */
  readonly bytesPerToken: BytesPerToken;
  /** Seconds of opening the model, and of all tasks. */
  readonly timing: {
    readonly loadSeconds: number;
    readonly seconds: number;
  };
}

/**
 * Run tasks, by name or your own, one after another. Each is told what it asks for: a text, the items of its file, its
 * options. Throws `BAD_REQUEST` for what no task asks for or what one lacks, `FILE_NOT_FOUND`, `BAD_DATA`, and what the tasks throw.
 *
 *     const { results } = await evaluate(engine, ['perplexity'], { text, limit: 1000 });
 *     results.perplexity.metrics.perplexity;
 */
export async function evaluate<O extends TaskOptions = NoOptions>(
  engine: Engine,
  tasks: readonly (string | Task<AnyItem, O>)[],
  options: EvaluateOptions & NoInfer<ValuesOf<O>> = {},
): Promise<EvaluateResult> {
  const chosen = tasks.map((task): Task => (typeof task === 'string' ? findTask(task) : task));
  expectAsked(chosen, options);
  const { text = [], data, onProgress, onPoint, rssBytes, ...given }: EvaluateOptions = options;
  const run = runOf(engine, given);
  const { method, policy, usage } = run;
  const texts = typeof text === 'string' ? [text] : text;
  const { limit } = given;
  const read = async ({ items }: Task<unknown>): Promise<unknown[]> =>
    items && data ? await readItems(data, items, limit) : [];
  const items = await Promise.all(chosen.map(read));
  const results: Record<string, TaskResult & Pick<Task, 'version'>> = {};
  const start = performance.now();
  for (const [i, task] of chosen.entries()) {
    const own = Object.entries(given).filter(([name]) => name in (task.options ?? {}));
    const result = await task.run(engine, Object.fromEntries(own), {
      ...run,
      ...{ items: items[i], texts, limit },
      onProgress: (share) => onProgress?.(task.name, share),
      onPoint: (point) => onPoint?.(task.name, point),
      ...(rssBytes && { rssBytes }),
    });
    results[task.name] = { ...result, version: task.version };
  }
  const { sinks, heavy, recent } = meanBudget(policy);
  return {
    model: engine.model,
    family: engine.description.family,
    backend: engine.backend.name,
    weights: engine.checkpoint.dtype,
    sparsity: method.name,
    kv: {
      ...{ policy: policy.name, type: engine.cacheType, sinks, heavy },
      ...(recent !== Infinity && { recent }),
    },
    results,
    density: usage.density(),
    bytesPerToken: usage.bytesPerToken(),
    timing: {
      loadSeconds: engine.loadSeconds,
      seconds: (performance.now() - start) / 1000,
    },
  };
}

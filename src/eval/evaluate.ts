import { meanBudget } from '../kv/parts/budget.ts';
import type { Engine } from '../engine/engine.ts';
import { type BytesPerToken, type Density, Usage } from '../engine/usage.ts';
import { EngineError } from '../errors.ts';
import type { CurvePoint, Task, TaskOptions, TaskResult, TaskRun } from './task.ts';
import { findTask } from './tasks/index.ts';

/** Options of tasks, and who hears how far they are. */
export interface EvaluateOptions extends TaskOptions {
  /** Ends the run between steps. */
  readonly signal?: AbortSignal;
  /** Share of a task that is done, 0 to 1. */
  readonly onProgress?: (task: string, share: number) => void;
  /** A point of a task's curve, as soon as it is known. */
  readonly onPoint?: (task: string, point: CurvePoint) => void;
  /** Bytes the process holds in memory, for the points of curves. Absent: they leave it out. */
  readonly rssBytes?: TaskRun['rssBytes'];
}

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
  readonly results: Readonly<Record<string, TaskResult>>;
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
 * Run tasks, by name or your own, one after another. Throws `BAD_REQUEST` where no task uses an option, and what the
 * tasks throw.
 *
 *     const { results } = await evaluate(engine, ['perplexity'], { text, limit: 1000 });
 *     results.perplexity.metrics.perplexity;
 */
export async function evaluate(
  engine: Engine,
  tasks: readonly (string | Task)[],
  options: EvaluateOptions = {},
): Promise<EvaluateResult> {
  const { signal, onProgress, onPoint, rssBytes, ...given } = options;
  const chosen = tasks.map((task) => (typeof task === 'string' ? findTask(task) : task));
  if (chosen.length === 0)
    throw new EngineError('BAD_REQUEST', '`tasks` names no task, expected at least one');
  for (const [name, value] of Object.entries(given))
    if (value !== undefined && !chosen.some(({ uses }) => uses.includes(name as keyof TaskOptions)))
      throw new EngineError(
        'BAD_REQUEST',
        `\`${name}\` is given, but none of ${chosen.map((task) => task.name).join(', ')} uses it; leave it out`,
      );

  const usage = new Usage(engine.description.layers, denseBytes(engine));
  const results: Record<string, TaskResult> = {};
  const start = performance.now();
  for (const task of chosen)
    results[task.name] = await task.run(engine, given, {
      method: engine.sparsity,
      usage,
      signal,
      onProgress: (share) => onProgress?.(task.name, share),
      onPoint: (point) => onPoint?.(task.name, point),
      ...(rssBytes && { rssBytes }),
    });
  const { sinks, heavy, recent } = meanBudget(engine.policy);
  return {
    model: engine.model,
    family: engine.description.family,
    backend: engine.backend.name,
    weights: engine.checkpoint.dtype,
    sparsity: engine.sparsity.name,
    kv: {
      ...{ policy: engine.policy.name, type: engine.cacheType, sinks, heavy },
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

/** Weight bytes of a dense decode step. */
function denseBytes(engine: Engine): number {
  using session = engine.session();
  return session.denseBytes();
}

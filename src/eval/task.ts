import type { Engine } from '../engine/engine.ts';
import type { Usage } from '../engine/usage.ts';
import type { Sparsity } from '../sparsity.ts';

/**
 * One evaluation: what is run, and how it is scored. A task names the options it uses; an option that
 * no chosen task uses is refused.
 */
export interface Task {
  /** As lm-evaluation-harness calls it, where that has the same. */
  readonly name: string;
  /** Raised whenever scores change. */
  readonly version: number;
  readonly uses: readonly (keyof TaskOptions)[];
  run(engine: Engine, options: TaskOptions, run: TaskRun): Promise<TaskResult>;
}

export interface TaskOptions {
  /** A text to score. */
  readonly text?: string;
  /** Score at most this many: ids of a text, questions of a set. Default: all. */
  readonly limit?: number;
  /** Ids of one window. Default 512, or the context where that is smaller. */
  readonly window?: number;
  /** Ids from one window's start to the next one's. Default: half a window. */
  readonly stride?: number;
}

/** What a running task is given besides its options. */
export interface TaskRun {
  /** Computes the decode steps. */
  readonly method: Sparsity;
  /** Decode steps are added to it. */
  readonly usage: Usage;
  readonly signal: AbortSignal | undefined;
  /** Share of the task that is done, 0 to 1. */
  readonly onProgress: (share: number) => void;
}

export interface TaskResult {
  readonly metrics: Readonly<Record<string, number>>;
  /** How many were scored, in what `limit` counts. */
  readonly n: number;
  readonly version: number;
}

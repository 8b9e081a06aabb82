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
  /** For people, in a table of tasks: what is measured. */
  readonly summary: string;
  /** Raised whenever scores change. */
  readonly version: number;
  /** Options it takes. */
  readonly uses: readonly (keyof TaskOptions)[];
  /** Its result has a curve. Default false. */
  readonly hasCurve?: boolean;
  /** Score the model that is open. */
  run(engine: Engine, options: TaskOptions, run: TaskRun): Promise<TaskResult>;
}

/** What tasks may be told. */
export interface TaskOptions {
  /** A text to score, or several that follow one another. */
  readonly text?: string | readonly string[];
  /** Score at most this many: ids of a text, questions of a set. Default: all. */
  readonly limit?: number;
  /** Ids of one window. Default 512, or the context where that is smaller. */
  readonly window?: number;
  /** Ids from one window's start to the next one's. Default: half a window. */
  readonly stride?: number;
  /** Tokens of one point of a curve. Default 10,000. */
  readonly bucket?: number;
  /** Tokens a step, where that changes nothing but the time. Default 1. */
  readonly rows?: number;
}

/** What a running task is given besides its options. */
export interface TaskRun {
  /** Computes the decode steps. */
  readonly method: Sparsity;
  /** Decode steps are added to it. */
  readonly usage: Usage;
  /** Ends the task between steps. */
  readonly signal: AbortSignal | undefined;
  /** Share of the task that is done, 0 to 1. */
  readonly onProgress: (share: number) => void;
  /** Called with each point of a curve as it is known. */
  readonly onPoint?: (point: CurvePoint) => void;
  /** Bytes the process holds in memory; points of a curve tell them where it is given. */
  readonly rssBytes?: () => number;
}

/** What one task scored. */
export interface TaskResult {
  /** By name; losses in nats, perplexities and shares as numbers. */
  readonly metrics: Readonly<Record<string, number>>;
  /** How many were scored, in what `limit` counts. */
  readonly n: number;
  /** Of the task. */
  readonly version: number;
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

import type { Recorder } from './program.ts';
import type { Selection } from './sparsity.ts';
import type { Tensor } from './tensor.ts';

/**
 * A KV policy is a score and two windows (house rule: eviction is written once, on the device).
 * `full` keeps everything; its windows are unbounded.
 */
export interface KVPolicy {
  readonly name: string;
  /** First tokens, never evicted. */
  readonly sinks: number;
  /** Last tokens, never evicted. */
  readonly recent: number;
  /** What rotary embedding sees after an eviction: the place in the text, or in the cache. */
  readonly positions: 'original' | 'compacted';
}

/** The rows of one step: which sequence and which place in its text each row belongs to. */
export interface StepRows {
  /** i32 [T] */
  readonly sequences: Tensor;
  /** i32 [T] */
  readonly positions: Tensor;
}

/**
 * Keys and values of every layer, allocated once for B sequences of S slots.
 *
 * Models hand over un-rotated queries and keys, and how to rotate them: when that happens is the
 * policy's business, since a policy that re-numbers positions must keep keys un-rotated.
 */
export interface Cache {
  readonly policy: KVPolicy;
  /** Slots of one sequence. */
  readonly capacity: number;
  readonly residentBytes: number;
  /** Begin the recording of one step. */
  begin(g: Recorder, rows: StepRows): CacheStep;
}

/** Rotary frequencies [R/2], and the factor some scalings put on cosines and sines. */
export interface Rotation {
  readonly frequencies: Tensor;
  readonly scale: number;
}

export interface AttendOptions {
  readonly rotation: Rotation | undefined;
  readonly heads: Selection;
  readonly scale: number;
  /** Slopes of ALiBi, [H]: what a key's logit gains with each position that it is nearer. */
  readonly slopes?: Tensor | undefined;
  /** Keys a query sees, its own included; 0, the default: all before it. */
  readonly window?: number | undefined;
}

export interface CacheStep {
  /** Record the storing of k and v, both [T, G, D], of one layer. */
  store(layer: number, k: Tensor, v: Tensor, rotation: Rotation | undefined): void;

  /** Record attention of q [T, H, D] over what is stored; returns [T, H, D], selected heads only. */
  attend(layer: number, q: Tensor, options: AttendOptions): Tensor;
}

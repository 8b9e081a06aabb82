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
  /**
   * i32 [T]: of each row's text, how many of its first tokens have keys and values of all heads in every
   * layer. Given, a step of one row may leave out those of heads that nobody asks for. Absent: none does.
   */
  readonly complete?: Tensor | undefined;
}

/**
 * Keys and values of every layer, allocated once for B sequences of S slots.
 *
 * Models hand over un-rotated queries and keys, and how to rotate them: when that happens is the
 * policy's business, since a policy that re-numbers positions must keep keys un-rotated.
 *
 * A head that was not chosen may lack keys and values of the latest tokens; it gets them, bit for bit what
 * it would have got at once, before anything reads them. This takes a token's slot to be its position. A
 * policy that evicts or moves tokens must first settle what is due in the slots it touches, or say where
 * a missing token goes beside its position, which its input is kept by and rotation needs.
 */
export interface Cache {
  readonly policy: KVPolicy;
  /** Slots of one sequence. */
  readonly capacity: number;
  /** Bytes allocated so far: keys and values, and the inputs kept for those that are made later. */
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

/** Keys and values that are missing: which heads get them, and of which tokens. */
export interface Missing {
  /** [B, P, E]: of each text the latest inputs of this layer, that of position p in row p mod P. */
  readonly ring: Tensor;
  /** u32 [1, 1 + G] and i32 [2 + G], as the op `backlog` gives them. */
  readonly chosen: Tensor;
  readonly missing: Tensor;
}

/** How keys and values of one layer are made of what was kept. */
export interface Source {
  /** [1, E]: what the projections of both read, as they read it. */
  readonly x: Tensor;
  readonly rotation: Rotation | undefined;
  /**
   * Record k and v [P, G, D] of what is missing, un-rotated, in the rows of the ring; the rest of them is
   * undefined. Called for other recordings too, as long as the weights are there.
   */
  make(g: Recorder, missing: Missing): { readonly k: Tensor; readonly v: Tensor };
}

export interface CacheStep {
  /** Record the storing of k and v, both [T, G, D], of one layer. */
  store(layer: number, k: Tensor, v: Tensor, rotation: Rotation | undefined): void;

  /**
   * In place of `store`: record the storing of keys and values of `heads` [1, 1 + G] alone, of this token
   * and of all that they miss. Absent: this step must store everything.
   */
  readonly storeFor?: (layer: number, heads: Tensor, source: Source) => void;

  /**
   * After the step is recorded: what records, in a recording of its own, the storing of all that runs of
   * this step have left out of the row's text up to its position. Undefined: they leave nothing out.
   */
  settling(): ((g: Recorder) => void) | undefined;

  /** Record attention of q [T, H, D] over what is stored; returns [T, H, D], selected heads only. */
  attend(layer: number, q: Tensor, options: AttendOptions): Tensor;
}

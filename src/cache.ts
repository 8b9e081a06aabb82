import type { KVPolicy } from './kv.ts';
import type { Recorder } from './program.ts';
import type { Selection } from './selector.ts';
import type { Tensor } from './tensor.ts';

/** Tokens of a text that are in the cache, by group of layers (`Layout.groups`). */
export type Kept = readonly number[];

/** The rows of one step: which text each belongs to, where in it, and where in the cache it goes. */
export interface StepRows {
  /** i32 [T]; rows of one text are neighbours, in order. */
  readonly sequences: Tensor;
  /** i32 [T]: where in the text. */
  readonly positions: Tensor;
  /** i32 [T] for each group of layers, as the layout gives them: the slot of each row. */
  readonly slots: readonly Tensor[];
  /** i32 [T] for each group of layers: how many of the tokens that the row sees come before it. */
  readonly places: readonly Tensor[];
  /**
   * i32 [T]: of each row's text, how many of its first tokens have keys and values of all heads in every
   * layer. Given, a step of one row may leave out those of heads that nobody asks for. Absent: none does.
   */
  readonly complete?: Tensor | undefined;
  /**
   * Each row is the next token of its own text, decoded: where the policy chooses what a step reads, it does.
   * Default false: everything that is there is read.
   */
  readonly chooses?: boolean;
}

/**
 * Where the tokens of a text go, and how many stay. Arithmetic on the host: it never asks the device. Layers of one budget
 * are a group: their slots are the same. Most policies have one.
 */
export interface Layout {
  /** L: the group of each layer, from 0 on. */
  readonly groups: readonly number[];
  /** S of each group: slots of one text. */
  readonly slots: readonly number[];
  /** Most rows a step may add to a text of `length` tokens of which `kept` are in the cache. */
  room(length: number, kept: Kept): number;
  /** Slot and place, in a group, of the i-th row that a step adds to such a text. */
  row(
    group: number,
    length: number,
    kept: Kept,
    i: number,
  ): { readonly slot: number; readonly place: number };
  /** Tokens in the cache after a step added `rows` to such a text. */
  after(length: number, kept: Kept, rows: number): Kept;
  /** Those of an empty text. */
  readonly empty: Kept;
  /** Tokens that the text can be cut back to, `wanted` at most; 0 where only a new beginning is right. */
  cut(length: number, wanted: number): number;
}

/**
 * Keys and values of every layer, allocated once for B texts of S slots each.
 *
 * Models hand over un-rotated queries and keys, and how to rotate them: when that happens is the
 * policy's business, since one that compacts positions may have to keep keys un-rotated.
 *
 * A head that was not chosen may lack keys and values of the latest tokens; it gets them, bit for bit what
 * it would have got at once, before anything reads them. This takes a token's slot to be its position, so
 * only a cache that never evicts does it: others store those of all heads.
 */
export interface Cache {
  /** What it keeps of a text. */
  readonly policy: KVPolicy;
  /** What lies where, by layer and KV head. */
  readonly layout: Layout;
  /** Bytes allocated so far: keys and values, what is known of them, inputs of those that are made later. */
  readonly residentBytes: number;
  /** Begin the recording of one step. */
  begin(g: Recorder, rows: StepRows): CacheStep;
  /** Where in the text the tokens are that a KV head keeps of a text, ascending; `kept` are in the cache. */
  positions(
    layer: number,
    head: number,
    text: number,
    length: number,
    kept: Kept,
  ): Promise<number[]>;
  /**
   * Put random keys and values in place of what a text has, as one of `length` tokens would have left them,
   * `kept` of which are in the cache: to measure speed without computing them. `random`: numbers in [0, 1).
   */
  fill(text: number, length: number, kept: Kept, random: () => number): void;
}

/** Rotary frequencies [R/2], and the factor some scalings put on cosines and sines. */
export interface Rotation {
  /** f32 [R/2], radians a position. */
  readonly frequencies: Tensor;
  /** Factor of cosines and sines. */
  readonly scale: number;
}

/** How one layer attends in one step. */
export interface AttendOptions {
  /** Turns queries and keys by position; undefined where positions come in otherwise. */
  readonly rotation: Rotation | undefined;
  /** Heads to attend with; the others' outputs are not written. */
  readonly heads: Selection;
  /** Factor of query · key, before the softmax. */
  readonly scale: number;
  /** Slopes of ALiBi, [H]: what a key's logit gains with each position that it is nearer. */
  readonly slopes?: Tensor | undefined;
  /** Keys a query sees, its own included; 0, the default: all before it. */
  readonly window?: number | undefined;
  /** This attention is a probe: the step attends again in this layer, and only that ranks tokens. Default false. */
  readonly look?: boolean;
}

/** Keys and values that are missing: which heads get them, and of which tokens. */
export interface Missing {
  /** [B, P, E]: of each text the latest inputs of this layer, that of position p in row p mod P. */
  readonly ring: Tensor;
  /** u32 [1, 1 + G] and i32 [2 + G], as the op `backlog` gives them. */
  readonly chosen: Tensor;
  /** Its second tensor. */
  readonly missing: Tensor;
}

/** How keys and values of one layer are made of what was kept. */
export interface KeySource {
  /** [1, E]: what the projections of both read, as they read it. */
  readonly x: Tensor;
  /** Turns keys by position; undefined where positions come in otherwise. */
  readonly rotation: Rotation | undefined;
  /**
   * Record k and v [P, G, D] of what is missing, un-rotated, in the rows of the ring; the rest of them is
   * undefined. Called for other recordings too, as long as the weights are there.
   */
  make(g: Recorder, missing: Missing): { readonly k: Tensor; readonly v: Tensor };
}

/** What one step stores, evicts and attends to. */
export interface CacheStep {
  /** Record the storing of k and v, both [T, G, D], of one layer. */
  store(layer: number, k: Tensor, v: Tensor, rotation: Rotation | undefined): void;

  /**
   * In place of `store`: record the storing of keys and values of `heads` [1, 1 + G] alone, of this token
   * and of all that they miss. Absent: this step must store everything.
   */
  readonly storeFor?: (layer: number, heads: Tensor, source: KeySource) => void;

  /**
   * After the step is recorded: what records, in a recording of its own, the storing of all that runs of
   * this step have left out of the row's text up to its position. Undefined: they leave nothing out.
   */
  settling(): ((g: Recorder) => void) | undefined;

  /** After the step is recorded: what must run once before it first does, in a recording of its own. */
  preparing(): ((g: Recorder) => void) | undefined;

  /**
   * Record attention of q [T, H, D] over what is stored; returns [T, H, D], selected heads only. What tokens
   * receive ranks them, and may evict some, unless it is a mere look.
   */
  attend(layer: number, q: Tensor, options: AttendOptions): Tensor;
}

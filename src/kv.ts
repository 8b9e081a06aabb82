import type { Recorder } from './program.ts';
import type { Tensor } from './tensor.ts';

/**
 * What a cache keeps of a text, and what a step reads of that. A policy is data: eviction and choice are written
 * once, on the device, for all of them.
 *
 * Four kinds. `all` keeps and reads everything. `windows` keeps the first tokens and the last. `ranked` keeps, between
 * the two, those that a score ranks highest; each KV head of each layer its own. `chosen` keeps everything and reads the
 * pages that it chooses anew in every step. StreamingLLM is
 *
 *     { name: 'streaming', keeps: 'windows', positions: 'compacted', budget: { sinks: 4, heavy: 0, recent: 1020 } }
 *
 * and a policy with more room in its first layers has `budget: [{ … }, { … }, …]`, one for each layer.
 */
export type KVPolicy = KeepsAll | KeepsWindows | KeepsRanked | KeepsChosen;

/** What every policy says. */
export interface PolicyBase {
  /** What options, results and errors call it. */
  readonly name: string;
  /**
   * What rotary embedding and ALiBi take for a token's position once others were evicted: its place in the
   * text, or among the tokens that are kept, so that a text may grow past what the model was trained for.
   */
  readonly positions: 'original' | 'compacted';
}

/** Nothing is ever evicted, and everything is read. */
export interface KeepsAll extends PolicyBase {
  /** Its kind. */
  readonly keeps: 'all';
  readonly positions: 'original';
}

/** The windows alone decide, before attention: the oldest token that is no sink goes. */
export interface KeepsWindows extends PolicyBase {
  /** Its kind. */
  readonly keeps: 'windows';
  /** `heavy` is 0, `recent` at least 1. */
  readonly budget: Budgets;
}

/** A score decides what lies between the windows. */
export interface KeepsRanked extends PolicyBase {
  /** Its kind. */
  readonly keeps: 'ranked';
  /** Tokens kept of a text, for all layers or for each. */
  readonly budget: Budgets;
  /** What a token is worth. */
  readonly score: Score;
}

/** Nothing is evicted; a decode step reads as many tokens as the budget has. */
export interface KeepsChosen extends PolicyBase {
  /** Its kind. */
  readonly keeps: 'chosen';
  readonly positions: 'original';
  /** Tokens that are read: of the first and last pages, and of those between that the choice ranks highest. */
  readonly budget: Budgets;
  /** How pages are ranked. */
  readonly choice: Choice;
}

/** Tokens of a text in one layer: at most these are in the cache after a step, or read by one. */
export interface Budget {
  /** The first, always among them. */
  readonly sinks: number;
  /** Those between the windows that rank highest. */
  readonly heavy: number;
  /** The last, always among them. */
  readonly recent: number;
}

/** One budget for all layers, or one for each. */
export type Budgets = Budget | readonly Budget[];

/** How tokens are ranked that may be evicted; those of the lowest score go. */
export type Score = AttentionScore | KeyScore;

/** By the attention they receive, gathered where attention has it at hand: no matrix of all by all. */
export interface AttentionScore {
  /** What it is made of. */
  readonly by: 'attention';
  /** Whose attention: of the query heads that share the KV head, or of all heads of the layer. */
  readonly of: 'group' | 'layer';
  /** Queries of a step that count: so many latest of each text. Infinity: all. */
  readonly queries: number;
  /** Whether attention is added up since the token came, or only the latest step's counts. */
  readonly sums: boolean;
  /** Neighbours in the text whose mean a token is ranked by, itself included; odd. 1: itself alone. */
  readonly pool: number;
  /**
   * Tokens above the budget that are let in before any is evicted; scores then begin anew. 0: evict in
   * every step, and keep scores.
   */
  readonly slack: number;
}

/** By its key, or by nothing but chance: a number made once, when the token comes. No attention is gathered. */
export interface KeyScore {
  /** What it is made of. */
  readonly by: 'key';
  /**
   * Record the score [T, G] of keys k [T, G, D] as they come, before any rotation, at `positions` i32 [T] of the texts
   * `sequences` i32 [T]. Tensors are borrowed.
   */
  of(g: Recorder, rows: KeyRows): Tensor;
}

/** Keys that come in one step. */
export interface KeyRows {
  /** [T, G, D] */
  readonly k: Tensor;
  /** i32 [T] */
  readonly positions: Tensor;
  /** i32 [T] */
  readonly sequences: Tensor;
  /** Of the model. */
  readonly layer: number;
}

/**
 * How a step ranks the pages of a text: neighbouring tokens, `page` of them, slots p · page … of a KV head. What is kept of a
 * page beside its keys (bounds, sums) is the policy's own; heads that share a KV head read the same pages.
 */
export interface Choice {
  /** Tokens of a page. */
  readonly page: number;
  /** Layers, from the first on, that read everything. */
  readonly fullLayers: number;
  /** Numbers that are kept of each page, for keys of so many elements. */
  readonly columns: (headDim: number) => number;
  /** Record what keys k [T, G, D], as they are stored, change in `pages` f32 [B, G, P, columns]; zeros at first. */
  update(g: Recorder, rows: PageRows & { readonly k: Tensor }): void;
  /**
   * Record how much each page is wanted by the queries q [T, H, D] of each row: [T, G, P]. Pages that hold no token of
   * the row's text yet may have any score.
   */
  score(g: Recorder, rows: PageRows & { readonly q: Tensor }): Tensor;
}

/** Pages of one layer, and the rows of a step that rank them. */
export interface PageRows {
  /** f32 [B, G, P, columns] of this layer. */
  readonly pages: Tensor;
  /** i32 [T], both: the text of each row, and its token's slot, which is its position. */
  readonly sequences: Tensor;
  /** i32 [T]: the slot of each row's token, which is its position. */
  readonly slots: Tensor;
  /** Of the model. */
  readonly layer: number;
}

/** What a policy is asked to keep, in tokens. */
export interface KVOptions {
  /** First tokens. */
  readonly sinks?: number;
  /** Tokens kept by what they are worth. */
  readonly heavy?: number;
  /** Latest tokens. */
  readonly recent?: number;
  /** All of them together; below 1 a share of the context. */
  readonly budget?: number;
}

/** What a policy is made for. */
export interface KVSubject {
  /** Tokens the model sees at most. */
  readonly context: number;
  /** L */
  readonly layers: number;
}

/** A policy by its name: what it takes, and what it makes of it. */
export interface PolicyKind<N extends string = string> {
  /** What options and results call it. */
  readonly name: N;
  /** For people, in a table of policies: which tokens of a text stay in the cache. */
  readonly summary: string;
  /** Options it uses; others are refused. */
  readonly takes: readonly (keyof KVOptions)[];
  /** Options not taken are absent, others are whole numbers. */
  create(options: KVOptions, subject: KVSubject): KVPolicy;
}

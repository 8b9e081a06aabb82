import type { Model } from '../engine/step.ts';

/**
 * Another engine, measured beside ours: on a model of the same matrices in as many bytes, with as many
 * threads, in the same rounds.
 */
export interface Peer {
  /** What options call it. */
  readonly name: string;
  /** Throws `BACKEND_UNAVAILABLE` where it is not installed or does not work here. */
  open(): Promise<OpenedPeer>;
}

/** Another engine that works here. */
export interface OpenedPeer {
  /** What results call it. */
  readonly name: string;
  /** Of the package and of what it wraps. */
  readonly version: string;
  /** Throws `BAD_REQUEST` where it cannot run a model of these matrices, `OUT_OF_MEMORY`, `ABORTED`. */
  prepare(model: Model, options: PeerOptions): Promise<PeerSession>;
}

/** What another engine is to make room for. */
export interface PeerOptions {
  /** CPU threads. */
  readonly threads: number;
  /** Tokens each sequence has room for. */
  readonly capacity: number;
  /** Sequences decoded together. */
  readonly sequences: number;
  /** Tokens of the longest prefill. */
  readonly longest: number;
  /** Refuse a model whose weights take more. Default: no limit. */
  readonly memoryLimit?: number | undefined;
  /** Ends what is under way. */
  readonly signal?: AbortSignal | undefined;
}

/** A model in the peer's memory, and sequences in its cache. */
export interface PeerSession extends AsyncDisposable {
  /** How it runs the model. */
  readonly description: PeerDescription;
  /** Add tokens to an empty or begun sequence, as prompts are: logits of the last one alone. */
  prefill(sequence: number, ids: Int32Array): Promise<void>;
  /** Add a token to each of the first sequences; logits of each. */
  decode(ids: readonly number[]): Promise<void>;
  /** Forget everything after the first `length` tokens of a sequence. */
  truncate(sequence: number, length: number): void;
}

/** How another engine runs a model. */
export interface PeerDescription {
  /** Features of the processor that it uses. */
  readonly isa: string;
  /** As which of its architectures the model runs. */
  readonly architecture: string;
  /** How it stores the matrices: types of its file, and where in its memory they lie. */
  readonly stored: string;
  /** Bytes of weights that a decode step reads. */
  readonly weightBytes: number;
  /** Bytes of keys and values of one token. */
  readonly kvBytes: number;
}

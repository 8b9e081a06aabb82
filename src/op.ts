import type { DType, Role, Tensor } from './tensor.ts';

/**
 * One operation a backend can run. An op is one file in `ops/`: its shape check and the reference loop
 * that defines it. The cases every backend is tested with lie in a file of the same name in `ops/cases/`.
 *
 * Operands and parameters are listed in the order kernels receive them. Parameters are numbers;
 * flags are 0 or 1. An op runs to completion before a later op that depends on it; ops that do not
 * depend on one another may run side by side (program.ts).
 */
export interface Op<O extends string = string, P extends string = string> {
  /** What recordings and kernels call it. */
  readonly name: string;
  /** In the order of kernels. */
  readonly operands: readonly O[];
  /** Operands that are written. Those also named in `updates` keep what they held. */
  readonly writes: readonly O[];
  /** In the order of kernels. */
  readonly params: readonly P[];

  /**
   * Throw `BAD_SHAPE` when the operands do not fit one another. Called once, at recording; kernels
   * trust what passed. Contents of index tensors are trusted too: only ops and the engine write them.
   */
  check(t: Operands<O, Tensor>, p: Params<P>): void;

  /** Bytes of weights one run reads; absent: every `weights` and `predictor` operand, whole. */
  reads?(t: Operands<O, Tensor>, p: Params<P>): Read[];

  /** The definition: plain loops over host memory. */
  reference(t: Operands<O, HostTensor>, p: Params<P>): void;
}

/** Tensors by an op's names; those that may be absent are undefined. */
export type Operands<O extends string, T> = { readonly [K in O]?: T | undefined };
/** Numbers by an op's names. */
export type Params<P extends string> = { readonly [K in P]: number };

/**
 * `bytes` of `role`, read once, or once for each index in `select` (a `Selection` tensor); with
 * `group`, once for each distinct index / group; with `perSlot`, times the cache slots each row sees: those up to its own of
 * `slots` i32 [T], at most so many.
 */
export interface Read {
  /** What the memory is for. */
  readonly role: Role;
  /** Of one reading. */
  readonly bytes: number;
  /** Absent: read once. */
  readonly select: Tensor | undefined;
  /** Consecutive indices that share what is read. */
  readonly group?: number;
  /** Absent: read once, whatever the cache holds. */
  readonly perSlot?: { readonly slots: Tensor; readonly most: number };
}

/** A tensor whose bytes lie in JavaScript's memory. `bytes` begins at a multiple of 4. */
export interface HostTensor {
  /** Type of its elements. */
  readonly dtype: DType;
  /** Sizes of its axes, outermost first. */
  readonly shape: readonly number[];
  /** Row-major. */
  readonly bytes: Uint8Array;
}

export interface Case<O extends string = string, P extends string = string> {
  readonly name: string;
  readonly operands: Operands<O, HostTensor>;
  readonly params: Params<P>;
  /** Largest error allowed, as a share of the output's largest magnitude. Default 1e-5. */
  readonly tolerance?: number;
  /** The same of an instruction set that multiplies in bf16 what this case lets it. Default: no other. */
  readonly tileTolerance?: number;
}

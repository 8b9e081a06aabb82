import type { Recording } from './program.ts';
import type { DType, Role, Tensor } from './tensor.ts';

/**
 * Memory and dispatch of one kind of processor. Prefer, in this order: native, reference.
 *
 * A backend runs recorded programs; it knows nothing of models, methods or policies. Nothing blocks
 * the event loop: `run` resolves when the program is done, `read` when the bytes are here. Only one
 * program runs at a time; a second `run` waits for the first. Host code must not write to or read
 * tensors that a running program uses.
 */
export interface Backend extends AsyncDisposable {
  readonly name: string;
  readonly info: BackendInfo;

  /** Why this backend cannot run an op on weights of this type; undefined when it can. */
  refuses(op: string, weights?: DType): string | undefined;

  /** Zeroed memory that lives until `free` or the backend's end. Throws `OUT_OF_MEMORY`. */
  allocate(dtype: DType, shape: readonly number[], role: Role): Tensor;
  free(tensor: Tensor): void;

  /**
   * A tensor whose bytes are those of a file from `offset`, a multiple of 64, on: read when they are
   * used, not copied. The file must stay as it is until `free`; writing to the tensor leaves it alone.
   * Undefined where the file cannot be mapped: read it then. Absent: nothing can.
   */
  map?(
    path: string,
    offset: number,
    dtype: DType,
    shape: readonly number[],
    role: Role,
  ): Tensor | undefined;

  /** Copy bytes into a tensor; as many as the tensor has. */
  write(tensor: Tensor, bytes: ArrayBufferView): void;

  /** A copy of a tensor's bytes. For scratch tensors: `program` is the one that keeps them. */
  read(tensor: Tensor, program?: Program): Promise<Uint8Array<ArrayBuffer>>;

  /** Prepare a recording for running; allocates its scratch arena. */
  compile(recording: Recording): Promise<Program>;
  run(program: Program): Promise<void>;

  /** Run, and tell where the time went. Absent: nothing is measured. */
  time?(program: Program): Promise<RunTimes>;
}

/** Where the time of one run went. */
export interface RunTimes {
  /** From its beginning to its end. */
  readonly seconds: number;
  /** What each command of the recording's stages, in their order, took, all threads together. */
  readonly commands: readonly number[];
}

export interface BackendInfo {
  /** Threads that run kernels. */
  readonly threads: number;
  /** Instruction set in use, e.g. `avx512`. */
  readonly isa?: string;
  readonly device?: string;
  /** Why it is slower here than it could be, and what to do: for whoever opened it to read. */
  readonly note?: string;
  /** 16-bit weights are read about as fast as they are stored. */
  readonly fastF16: boolean;
}

/** A compiled recording. Release it when it will not run again. */
export interface Program {
  readonly recording: Recording;
  release(): void;
}

/** How to open a backend, and why it might not open. */
export interface BackendFactory {
  readonly name: string;
  /** For people, in a table of backends: what it runs on, and what it is for. */
  readonly summary: string;
  /** Throws `BACKEND_UNAVAILABLE` with the reason; `BACKEND_OUTDATED` where what it has compiled is not this program's. */
  open(options: BackendOptions): Promise<Backend>;
}

export interface BackendOptions {
  /** CPU threads. Default: the physical cores this process may use. */
  readonly threads?: number;
  /** Force an instruction set (tests and measurements): `avx512`, `avx2`, `neon` or `scalar`. */
  readonly isa?: string;
}

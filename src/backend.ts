import type { Command, Recording } from './program.ts';
import type { DType, Role, Tensor } from './tensor.ts';

/**
 * Memory and dispatch of one kind of processor. Prefer, in this order: native, reference.
 *
 * A backend runs recorded programs; it knows nothing of models, methods or policies. Nothing blocks
 * the event loop: `run` resolves when the program is done, `read` when the bytes are here. Only one
 * program runs at a time; a second `run` waits for the first. Host code must not write to or read
 * tensors that a running program uses.
 *
 * A sum, from beginning to end:
 *
 *     const x = backend.allocate('f32', [1, 4], 'state');
 *     const g = new Recorder();
 *     const y = g.keep(add(g, x, x));
 *     const program = await backend.compile(g.finish());
 *     backend.write(x, Float32Array.of(1, 2, 3, 4));
 *     await backend.run(program);
 *     const [bytes] = await backend.read([y], program); // 2, 4, 6, 8
 *
 * Memory that runs out later. Where a device tells only afterwards that memory could not be had, `allocate`
 * returns a tensor all the same, and the next `compile`, `run` or `read`, whatever it is of, rejects with
 * `OUT_OF_MEMORY`, saying how many bytes of what role were asked for. So `read([])` resolves once all that
 * was allocated before is known to be there. A device that is lost makes all of them reject, with
 * `BACKEND_UNAVAILABLE`.
 */
export interface Backend extends AsyncDisposable {
  /** As in the table of backends. */
  readonly name: string;
  /** What it runs on here. */
  readonly info: BackendInfo;

  /** What its kernels can be given. */
  readonly limits: BackendLimits;

  /**
   * Why this backend cannot run a command that is within its limits, as half a sentence: `no kernel computes
   * with f16`. Undefined when it can. It sees the operands that are there, their types and shapes, and the
   * parameters; none of them needs memory. `refusals` (backends/expect.ts) asks for a whole recording.
   */
  refuses(command: Command): string | undefined;

  /** Zeroed memory that lives until `free` or the backend's end. Throws `OUT_OF_MEMORY`, at once or later (above). */
  allocate(dtype: DType, shape: readonly number[], role: Role): Tensor;
  /** Give memory back; nobody may use the tensor any more. */
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

  /**
   * Fill a tensor that `allocate` just gave with a matrix of a file, read and converted on all threads: bit for
   * bit the rows that `streamMatrix` (loaders/stream.ts) makes. Resolves with the `rowSquares` of its rows where they are
   * wanted, with none otherwise; with undefined where it cannot (a type it does not know, a file that changed, a
   * number that f16 cannot hold): rows are unfinished then, and whoever writes them the other way learns why. Absent:
   * nothing can.
   */
  convert?(
    tensor: Tensor,
    matrix: FileMatrix,
    squares: boolean,
  ): Promise<Float64Array<ArrayBuffer> | undefined>;

  /**
   * Copy bytes into a tensor, as many as it has; throws `INTERNAL` for another number. A view may begin at any
   * row, so at any even byte: what lies beside it stays.
   */
  write(tensor: Tensor, bytes: ArrayBufferView): void;

  /**
   * Copies of the bytes of several tensors, in their order, in one go: where reading waits for a device, that is
   * once. For scratch tensors: `program` is the one that keeps them; throws `INTERNAL` where it does not.
   */
  read(tensors: readonly Tensor[], program?: Program): Promise<Uint8Array<ArrayBuffer>[]>;

  /**
   * Prepare a recording for running. Where its scratch tensors lie is the backend's choice; `placeScratch`
   * makes one arena of them. Rejects with `BACKEND_REFUSES` and every reason where `refusals` has any.
   */
  compile(recording: Recording): Promise<Program>;
  /** Run a program; resolves when it is done. */
  run(program: Program): Promise<void>;

  /** Run, and tell where the time went. Absent: nothing is measured. */
  time?(program: Program): Promise<RunTimes>;
}

/** A matrix that lies in a file of this machine. */
export interface FileMatrix {
  /** Of the file. */
  readonly path: string;
  /** Where its bytes begin. */
  readonly offset: number;
  /** As safetensors or GGUF name it: `BF16`, `Q4_K`. */
  readonly type: string;
  /** Row-major, as it lies in the file: rows, columns. */
  readonly shape: readonly [number, number];
  /** Rows of the tensor are the file's columns. */
  readonly turned: boolean;
  /** The file's row, or column, for each row of the tensor. */
  readonly places: Int32Array;
}

/** What its kernels can be given. */
export interface BackendLimits {
  /** Operands of one command that are there, at most; a kernel may have to bind each. `Infinity`: any number. */
  readonly operands: number;
  /**
   * Bytes: a view (`slice`) that a kernel is given begins at a multiple of this within its tensor. Other views are
   * refused, never copied behind the scenes. 1 where kernels take any address, or offsets as numbers.
   */
  readonly alignment: number;
}

/** Where the time of one run went. */
export interface RunTimes {
  /** From its beginning to its end. */
  readonly seconds: number;
  /** What each command of the recording's stages, in their order, took, all threads together. */
  readonly commands: readonly number[];
}

/** What a backend runs on, for reports. */
export interface BackendInfo {
  /** Threads that run kernels. */
  readonly threads: number;
  /** Instruction set in use, e.g. `avx512`. */
  readonly isa?: string;
  /** Its name, where it is no CPU. */
  readonly device?: string;
  /** Why it is slower here than it could be, and what to do: for whoever opened it to read. */
  readonly note?: string;
  /** It multiplies in bf16 where the case of an op lets it (`Case.tileTolerance`). */
  readonly bf16Products?: boolean;
  /** 16-bit weights are read about as fast as they are stored. */
  readonly fastF16: boolean;
}

/** A compiled recording. Release it when it will not run again. */
export interface Program {
  /** What it runs. */
  readonly recording: Recording;
  /** Memory that it keeps for its scratch tensors. */
  readonly scratchBytes: number;
  /** Give its memory back. */
  release(): void;
}

/** How to open a backend, and why it might not open. */
export interface BackendFactory<N extends string = string> {
  /** What options call it. */
  readonly name: N;
  /** For people, in a table of backends: what it runs on, and what it is for. */
  readonly summary: string;
  /** Throws `BACKEND_UNAVAILABLE` with the reason; `BACKEND_OUTDATED` where what it has compiled is not this program's. */
  open(options: BackendOptions): Promise<Backend>;
  /**
   * What it can be opened as on this machine: instruction sets, numbers of threads, devices. Each is tested
   * (test/support/conformance.ts). None: nothing opens it here. Absent: there is one, with no options.
   */
  variants?(): Promise<readonly BackendVariant[]>;
  /** Cases of ops that it does not run. One that it refuses without a reason here is a failed test. */
  readonly optsOut?: readonly OptOut[];
}

/** One way to open a backend that conformance tests. */
export interface BackendVariant {
  /** E.g. `avx512 threads 2`. */
  readonly name: string;
  /** What `open` is given. */
  readonly options: BackendOptions;
}

/** A case of an op that a backend does not run. */
export interface OptOut {
  /** By its name. */
  readonly op: string;
  /** Absent: all cases of the op. */
  readonly case?: string;
  /** Printed beside the skipped test. */
  readonly reason: string;
}

/** How to open a backend. */
export interface BackendOptions {
  /** CPU threads. Default: the physical cores this process may use. */
  readonly threads?: number;
  /** Force an instruction set (tests and measurements): `avx512`, `avx2`, `neon` or `scalar`. */
  readonly isa?: string;
}

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { EngineError } from '../../errors.ts';

/** Opaque handles of native/src/addon.cc; collected when nothing refers to them. */
export type DeviceHandle = object & { readonly kind?: 'device' };
export type MemoryHandle = object & { readonly kind?: 'memory' };
export type ProgramHandle = object & { readonly kind?: 'program' };

/** An element type as native/src/tensor.h has it. `bits` 0: no type of quantized rows. */
export interface TypeNames {
  readonly name: string;
  readonly bits: number;
  readonly group: number;
  readonly minima: boolean;
}

/** A kernel's op, and what it takes, in the order in which it takes them. */
export interface KernelNames {
  readonly op: string;
  readonly operands: readonly string[];
  readonly params: readonly string[];
}

/** What the compiled addon exports. */
export interface Addon {
  /** The hash of the sources it was compiled from (native/sources.cjs). */
  sources(): string;
  /** Instruction sets that it was compiled for and this processor can run, best first. */
  isas(): string[];
  /** Instruction sets that it could be compiled for and this processor can run, best first. */
  processor(): string[];
  /** Element types, in the order of their numbers on a tape. */
  types(): TypeNames[];
  /** Starts the threads. */
  open(isa: string, threads: number): DeviceHandle;
  /** Kernels, in the order of their numbers on a tape. */
  kernels(device: DeviceHandle): KernelNames[];
  /** Activations, in the order of their numbers as a parameter. */
  activations(device: DeviceHandle): string[];
  fastF16(device: DeviceHandle): boolean;
  /** Ends the threads; a program that is running never resolves. */
  close(device: DeviceHandle): void;
  /** Zeroed memory; undefined when there is not enough. */
  allocate(bytes: number): MemoryHandle | undefined;
  /** Part of a file, read when touched; undefined when it cannot be mapped. */
  mapFile(path: string, offset: number, bytes: number): MemoryHandle | undefined;
  /** JavaScript's view of it. Asked once a memory. */
  buffer(memory: MemoryHandle): ArrayBuffer;
  /** Detaches the view, then frees the memory once no program points into it. */
  free(memory: MemoryHandle, buffer: ArrayBuffer): void;
  /**
   * Fill memory with a matrix of a file (backend.ts, `convert`). `numbers`: the memory's type by its number, the
   * offset, rows and columns in the file, and 1 where it is turned.
   */
  convert(
    device: DeviceHandle,
    memory: MemoryHandle,
    path: string,
    type: string,
    numbers: Float64Array,
    places: Int32Array,
    squares: boolean,
  ): Promise<Float64Array<ArrayBuffer> | undefined>;
  /** `memory`: the pieces that the tape's operands name by number. */
  compile(device: DeviceHandle, tape: Float64Array, memory: readonly MemoryHandle[]): ProgramHandle;
  release(program: ProgramHandle): void;
  /**
   * Programs run one after the other, in the order of calls. `timed`: resolves with the seconds it took, then
   * those each command took, all threads together.
   */
  run(
    device: DeviceHandle,
    program: ProgramHandle,
    timed: boolean,
  ): Promise<Float64Array | undefined>;
}

/** The package's own folder: where `build/` and `prebuilds/` lie, from `src/` and from `dist/`. */
const packageFolder = fileURLToPath(new URL('../../..', import.meta.url));

/**
 * Load the compiled addon, found as node-gyp-build does: build/Release, else prebuilds/. Throws
 * `BACKEND_UNAVAILABLE` where there is none for this platform, and `BACKEND_OUTDATED` where the package is a
 * checkout whose native/src is not what the addon was compiled from.
 */
export function loadAddon(folder: string = packageFolder): Addon {
  const require = createRequire(import.meta.url);
  let addon: Addon;
  try {
    const { path } = require('node-gyp-build') as { path: (folder: string) => string };
    addon = require(path(folder)) as Addon;
  } catch (cause) {
    const [line] = (cause as Error).message.split('\n');
    throw new EngineError(
      'BACKEND_UNAVAILABLE',
      `native backend: ${line}; run: node scripts/install.mjs, with a C++ compiler at hand`,
      { cause },
    );
  }
  if (isCheckout(folder)) {
    const { sourcesHash } = require(path.join(folder, 'native/sources.cjs')) as {
      sourcesHash: (folder: string) => string;
    };
    // An addon from before there was a hash has no such function.
    if ((addon as Partial<Addon>).sources?.() !== sourcesHash(folder))
      throw outdated('the compiled addon is of other sources than native/src');
  }
  return addon;
}

/** An installed package has native/src too, which nobody edits: it is not read again. */
const isCheckout = (folder: string): boolean =>
  existsSync(path.join(folder, 'src/backends/native')) &&
  existsSync(path.join(folder, 'native/sources.cjs'));

/** The addon is there, and is not this program's. */
export const outdated = (found: string): EngineError =>
  new EngineError('BACKEND_OUTDATED', `native backend: ${found}; compile it again: npm run native`);

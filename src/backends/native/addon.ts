import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** Opaque handles of native/src/addon.cc; collected when nothing refers to them. */
export type DeviceHandle = object & { readonly kind?: 'device' };
export type MemoryHandle = object & { readonly kind?: 'memory' };
export type ProgramHandle = object & { readonly kind?: 'program' };

/** What the compiled addon exports. */
export interface Addon {
  /** Instruction sets this processor can run, best first. */
  isas(): string[];
  /** Starts the threads. */
  open(isa: string, threads: number): DeviceHandle;
  /** Names of the ops there are kernels for, in the order of their numbers on a tape. */
  kernels(device: DeviceHandle): string[];
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
 * Load the compiled addon, found as node-gyp-build does: build/Release, else prebuilds/. Throws where
 * there is none for this platform.
 */
export function loadAddon(folder: string = packageFolder): Addon {
  const require = createRequire(import.meta.url);
  const { path } = require('node-gyp-build') as { path: (folder: string) => string };
  return require(path(folder)) as Addon;
}

import type {
  Backend,
  BackendFactory,
  BackendInfo,
  BackendOptions,
  FileMatrix,
  Program,
  RunTimes,
} from '../../backend.ts';
import { EngineError } from '../../errors.ts';
import { weightTypes } from '../../ops/shape.ts';
import { type Arena, type Command, placeScratch, type Recording } from '../../program.ts';
import {
  baseOf,
  byteLength,
  type DType,
  type Role,
  type Storage,
  type Tensor,
} from '../../tensor.ts';
import { expectAccepted, expectBytes, expectKept } from '../expect.ts';
import { disagreements, type Vocabulary } from './agreement.ts';
import {
  type Addon,
  type DeviceHandle,
  loadAddon,
  type MemoryHandle,
  outdated,
  type ProgramHandle,
} from './addon.ts';
import { physicalCores } from './cores.ts';
import { chooseIsa, type ChosenIsa } from './isa.ts';
import { toTape } from './tape.ts';

/** Memory of the addon, seen from JavaScript as an ArrayBuffer. */
class NativeMemory implements Storage {
  readonly bytes: number;
  readonly role: Role;
  readonly handle: MemoryHandle;
  readonly buffer: ArrayBuffer;

  constructor(addon: Addon, handle: MemoryHandle, bytes: number, role: Role) {
    this.bytes = bytes;
    this.role = role;
    this.handle = handle;
    this.buffer = addon.buffer(handle);
  }

  static allocate(addon: Addon, bytes: number, role: Role): NativeMemory {
    const handle = addon.allocate(bytes);
    if (handle) return new NativeMemory(addon, handle, bytes, role);
    throw new EngineError(
      'OUT_OF_MEMORY',
      `native backend: ${bytes} bytes of ${role} cannot be allocated; use smaller weights (\`weights\` int8) or a smaller \`context\``,
    );
  }
}

interface NativeProgram extends Program {
  readonly handle: ProgramHandle;
  readonly arena: Arena;
  readonly scratch: NativeMemory;
}

/** Bytes; what lies in one cache line is of one tensor. */
const scratchAlignment = 64;

/** Kernels in C++ on threads of their own (native/src). */
class NativeBackend implements Backend {
  readonly name = 'native';
  readonly info: BackendInfo;
  /** A kernel is given pointers, as many as its op has operands. */
  readonly limits = { operands: Infinity, alignment: 1 };
  readonly #addon: Addon;
  readonly #device: DeviceHandle;
  readonly #vocabulary: Vocabulary;
  #last: Promise<unknown> = Promise.resolve();

  constructor(addon: Addon, { isa, note }: ChosenIsa, threads: number) {
    this.#addon = addon;
    this.#device = addon.open(isa, threads);
    this.#vocabulary = {
      types: addon.types(),
      kernels: addon.kernels(this.#device),
      activations: addon.activations(this.#device),
    };
    const differences = disagreements(this.#vocabulary);
    if (differences.length > 0) {
      addon.close(this.#device);
      throw outdated(`the compiled addon is not this program's: ${differences.join('; ')}`);
    }
    this.info = {
      ...{ threads, isa, ...(note && { note }) },
      fastF16: addon.fastF16(this.#device),
      bf16Products: isa === 'amx',
    };
  }

  refuses({ op, operands }: Command): string | undefined {
    if (!this.#vocabulary.kernels.some((kernel) => kernel.op === op.name))
      return 'the addon has no kernel for it';
    const type = operands['w']?.dtype;
    return type && !weightTypes.includes(type) ? `no kernel computes with ${type}` : undefined;
  }

  allocate(dtype: DType, shape: readonly number[], role: Role): Tensor {
    const storage = NativeMemory.allocate(this.#addon, byteLength(dtype, shape), role);
    return { dtype, shape, role, storage, byteOffset: 0 };
  }

  map(
    path: string,
    offset: number,
    dtype: DType,
    shape: readonly number[],
    role: Role,
  ): Tensor | undefined {
    const bytes = byteLength(dtype, shape);
    const handle = this.#addon.mapFile(path, offset, bytes);
    const storage = handle && new NativeMemory(this.#addon, handle, bytes, role);
    return storage && { dtype, shape, role, storage, byteOffset: 0 };
  }

  free(tensor: Tensor): void {
    const { handle, buffer } = tensor.storage as NativeMemory;
    this.#addon.free(handle, buffer);
  }

  async convert(
    tensor: Tensor,
    { path, offset, type, shape, turned, places }: FileMatrix,
    squares: boolean,
  ): Promise<Float64Array<ArrayBuffer> | undefined> {
    const { handle } = tensor.storage as NativeMemory;
    const to = this.#vocabulary.types.findIndex(({ name }) => name === tensor.dtype);
    const numbers = Float64Array.of(to, offset, ...shape, Number(turned));
    return await this.#addon.convert(this.#device, handle, path, type, numbers, places, squares);
  }

  write(tensor: Tensor, source: ArrayBufferView): void {
    expectBytes(tensor, source);
    const bytes = new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
    bytesOf(tensor).set(bytes);
  }

  async read(tensors: readonly Tensor[], program?: Program): Promise<Uint8Array<ArrayBuffer>[]> {
    for (const tensor of tensors) expectKept(tensor, program?.recording);
    const copy = (tensor: Tensor) => bytesOf(tensor, program as NativeProgram | undefined).slice();
    return Promise.resolve(tensors.map(copy));
  }

  async compile(recording: Recording): Promise<Program> {
    expectAccepted(this, recording.stages.flat());
    const arena = placeScratch(recording, scratchAlignment);
    const { numbers, storages } = toTape(recording, arena, this.#vocabulary);
    const scratch = NativeMemory.allocate(this.#addon, arena.bytes, 'scratch');
    const handles = storages.map((storage) => ((storage ?? scratch) as NativeMemory).handle);
    let handle: ProgramHandle;
    try {
      handle = this.#addon.compile(this.#device, numbers, handles);
    } catch (cause) {
      throw new EngineError('INTERNAL', `native backend: ${(cause as Error).message}`, { cause });
    }
    const release = (): void => {
      this.#addon.release(handle);
      this.#addon.free(scratch.handle, scratch.buffer);
    };
    const program: NativeProgram = {
      ...{ recording, handle, arena, scratch, release },
      scratchBytes: arena.bytes,
    };
    return Promise.resolve(program);
  }

  async run(program: Program): Promise<void> {
    await this.#run(program, false);
  }

  async time(program: Program): Promise<RunTimes> {
    const [seconds, ...commands] = (await this.#run(program, true))!;
    return { seconds, commands };
  }

  #run(program: Program, timed: boolean): Promise<Float64Array | undefined> {
    const run = this.#addon.run(this.#device, (program as NativeProgram).handle, timed);
    this.#last = run;
    return run;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    this.#addon.close(this.#device);
  }
}

/** The bytes of a tensor; scratch lies in the program's arena. */
function bytesOf(tensor: Tensor, program?: NativeProgram): Uint8Array<ArrayBuffer> {
  const memory = (tensor.storage ?? program?.scratch) as NativeMemory | undefined;
  const start = tensor.storage ? 0 : program?.arena.offsets.get(baseOf(tensor));
  if (!memory || start === undefined)
    throw new EngineError(
      'INTERNAL',
      `a scratch tensor [${tensor.shape}] is read without its program`,
    );
  const length = byteLength(tensor.dtype, tensor.shape);
  return new Uint8Array(memory.buffer, start + tensor.byteOffset, length);
}

/** Load the addon, from the folder of another build where one is given, and start its threads. */
export async function openNative(options: BackendOptions, folder?: string): Promise<Backend> {
  const { threads = physicalCores() } = options;
  if (!Number.isInteger(threads) || threads < 1 || threads > 1024)
    throw new EngineError('BAD_REQUEST', `threads: ${threads}; expected a number from 1 to 1024`);
  const addon = loadAddon(folder);
  return Promise.resolve(new NativeBackend(addon, chooseIsa(addon, options.isa), threads));
}

export const native: BackendFactory<'native'> & {
  /** Instruction sets that `options.isa` may name here; none where no addon loads. Throws as `open` otherwise. */
  isas(): readonly string[];
} = {
  name: 'native',
  summary: 'compiled kernels (AVX-512, AVX2, NEON, plain) on all cores: the fast one',
  open: (options) => openNative(options),
  variants: () => {
    const variants = native.isas().flatMap((isa) =>
      [1, 2].map((threads) => ({
        name: `${isa} threads ${threads}`,
        options: { isa, threads },
      })),
    );
    return Promise.resolve(variants);
  },
  isas() {
    try {
      return loadAddon().isas();
    } catch (error) {
      if (error instanceof EngineError && error.code === 'BACKEND_UNAVAILABLE') return [];
      throw error;
    }
  },
};

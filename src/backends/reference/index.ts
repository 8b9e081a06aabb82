import type { Backend, BackendFactory, Program } from '../../backend.ts';
import { EngineError } from '../../errors.ts';
import type { HostTensor } from '../../op.ts';
import { ops } from '../../ops/index.ts';
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

/**
 * The definition of every op, run as plain TypeScript on one thread. Slow and always there.
 *
 * Between ops it gives the event loop a turn whenever it has held it for `turnMs`.
 */
const turnMs = 10;

/** Bytes; what lies in one cache line is of one tensor. */
const scratchAlignment = 64;

class Memory implements Storage {
  readonly bytes: number;
  readonly role: Role;
  data: Uint8Array<ArrayBuffer>;

  constructor(bytes: number, role: Role) {
    this.bytes = bytes;
    this.role = role;
    try {
      this.data = new Uint8Array(bytes);
    } catch (cause) {
      throw new EngineError(
        'OUT_OF_MEMORY',
        `reference backend: ${bytes} bytes of ${role} cannot be allocated; use smaller weights (\`weights\` int8) or a smaller \`context\``,
        { cause },
      );
    }
  }
}

interface ReferenceProgram extends Program {
  /** Commands in order, operands bound to their memory. */
  readonly steps: readonly { command: Command; operands: Record<string, HostTensor> }[];
  readonly scratch: Scratch;
}

/** The scratch of a program, in memory. */
interface Scratch extends Arena {
  readonly data: Uint8Array<ArrayBuffer>;
}

class ReferenceBackend implements Backend {
  readonly name = 'reference';
  readonly info = { threads: 1, fastF16: false };
  readonly limits = { operands: Infinity, alignment: 1 };
  #last: Promise<void> = Promise.resolve();

  refuses({ op }: Command): string | undefined {
    return ops.some(({ name }) => name === op.name) ? undefined : 'there is no such op';
  }

  allocate(dtype: DType, shape: readonly number[], role: Role): Tensor {
    const storage = new Memory(byteLength(dtype, shape), role);
    return { dtype, shape, role, storage, byteOffset: 0 };
  }

  free(tensor: Tensor): void {
    (tensor.storage as Memory).data = new Uint8Array(0);
  }

  write(tensor: Tensor, source: ArrayBufferView): void {
    expectBytes(tensor, source);
    const bytes = new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
    hostView(tensor).bytes.set(bytes);
  }

  async read(tensors: readonly Tensor[], program?: Program): Promise<Uint8Array<ArrayBuffer>[]> {
    for (const tensor of tensors) expectKept(tensor, program?.recording);
    const scratch = (program as ReferenceProgram | undefined)?.scratch;
    return Promise.resolve(tensors.map((tensor) => hostView(tensor, scratch).bytes.slice()));
  }

  async compile(recording: Recording): Promise<Program> {
    expectAccepted(this, recording.stages.flat());
    const arena = placeScratch(recording, scratchAlignment);
    const scratch = { ...arena, data: new Memory(arena.bytes, 'scratch').data };
    const steps = recording.stages.flat().map((command) => ({
      command,
      operands: Object.fromEntries(
        Object.entries(command.operands).flatMap(([name, tensor]) =>
          tensor ? [[name, hostView(tensor, scratch)]] : [],
        ),
      ),
    }));
    const program: ReferenceProgram = {
      ...{ recording, steps, scratch, scratchBytes: arena.bytes },
      release: () => undefined,
    };
    return Promise.resolve(program);
  }

  run(program: Program): Promise<void> {
    return (this.#last = this.#last.then(() => this.#run(program as ReferenceProgram)));
  }

  async #run({ steps }: ReferenceProgram): Promise<void> {
    let turn = performance.now();
    for (const { command, operands } of steps) {
      command.op.reference(operands, command.params);
      if (performance.now() - turn > turnMs) {
        await new Promise((resolve) => setTimeout(resolve, 0));
        turn = performance.now();
      }
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#last;
  }
}

/** The bytes of a tensor; scratch lies in the program's arena. */
function hostView(
  tensor: Tensor,
  scratch?: Scratch,
): HostTensor & { bytes: Uint8Array<ArrayBuffer> } {
  const { dtype, shape } = tensor;
  const memory = tensor.storage ? (tensor.storage as Memory).data : scratch?.data;
  const base = tensor.storage ? 0 : scratch?.offsets.get(baseOf(tensor));
  if (!memory || base === undefined)
    throw new EngineError('INTERNAL', `a scratch tensor [${shape}] is read without its program`);
  const start = base + tensor.byteOffset;
  return { dtype, shape, bytes: memory.subarray(start, start + byteLength(dtype, shape)) };
}

/** The backend that runs the ops' own loops: everywhere, slowly, and the definition of right. */
export const reference: BackendFactory<'reference'> = {
  name: 'reference',
  summary: 'plain TypeScript, everywhere: slow, and the definition of right',
  open: () => Promise.resolve(new ReferenceBackend()),
};

import type { Backend, BackendFactory, Program } from '../../src/backend.ts';
import { expectAccepted } from '../../src/backends/expect.ts';
import { EngineError } from '../../src/errors.ts';
import type { HostTensor } from '../../src/op.ts';
import type { Command, Recording } from '../../src/program.ts';
import { baseOf, type Tensor } from '../../src/tensor.ts';
import { expectClose } from './run-op.ts';

/** A backend that does what another does, but for what is given: for trials. */
export const around = (
  inner: BackendFactory,
  name: string,
  change: (backend: Backend) => Partial<Backend>,
): BackendFactory => ({
  ...{ name, summary: `${inner.name}, for a trial` },
  open: async (options) => {
    const backend = await inner.open(options);
    const same: Backend = {
      ...{ name, info: backend.info, limits: backend.limits },
      refuses: (command) => backend.refuses(command),
      allocate: (...asked) => backend.allocate(...asked),
      free: (tensor) => backend.free(tensor),
      write: (...given) => backend.write(...given),
      read: (...asked) => backend.read(...asked),
      compile: (recording) => backend.compile(recording),
      run: (program) => backend.run(program),
      [Symbol.asyncDispose]: () => backend[Symbol.asyncDispose](),
    };
    return { ...same, ...change(backend) };
  },
});

interface Checked extends Program {
  readonly alone: readonly { readonly command: Command; readonly program: Program }[];
  readonly place: (tensor: Tensor) => Tensor;
}

/**
 * A backend that runs each command of a recording alone, and compares what it writes with what the op's
 * reference loop makes of the same operands: a wrong kernel is named in the step where it computes, with a
 * model's own numbers. `counts` has how often each op ran.
 */
export const checked = (inner: BackendFactory, counts = new Map<string, number>()) =>
  around(inner, 'checked', (backend) => ({
    async compile(recording: Recording): Promise<Program> {
      const commands = recording.stages.flat();
      expectAccepted(backend, commands);
      const memory = new Map<Tensor, Tensor>();
      const place = (tensor: Tensor): Tensor => {
        if (tensor.storage) return tensor;
        const base = baseOf(tensor);
        const own = memory.get(base) ?? backend.allocate(base.dtype, base.shape, 'scratch');
        memory.set(base, own);
        return { ...tensor, storage: own.storage };
      };
      const alone: { command: Command; program: Program }[] = [];
      for (const { op, operands, params } of commands) {
        const placed = Object.entries(operands).map(([key, t]) => [key, t && place(t)] as const);
        const command = { op, operands: Object.fromEntries(placed), params };
        const program = await backend.compile({ stages: [[command]], kept: new Set() });
        alone.push({ command, program });
      }
      const release = (): void => {
        for (const { program } of alone) program.release();
        for (const own of memory.values()) backend.free(own);
      };
      const program: Checked = { recording, scratchBytes: 0, alone, place, release };
      return program;
    },
    async run(program: Program): Promise<void> {
      for (const { command, program: one } of (program as Checked).alone) {
        const { op, operands, params } = command;
        const names = op.operands.filter((name) => operands[name]);
        const read = async (): Promise<Record<string, HostTensor>> => {
          const found = await backend.read(names.map((name) => operands[name]!));
          return Object.fromEntries(
            names.map((name, i) => {
              const { dtype, shape } = operands[name]!;
              return [name, { dtype, shape, bytes: found[i] }];
            }),
          );
        };
        const wanted = await read();
        await backend.run(one);
        const found = await read();
        op.reference(wanted, params);
        try {
          for (const name of op.writes)
            if (operands[name]) expectClose(found[name], wanted[name], 1e-4);
        } catch (cause) {
          const { message } = cause as Error;
          throw new EngineError('INTERNAL', `${op.name}: ${message}`, { cause });
        }
        counts.set(op.name, (counts.get(op.name) ?? 0) + 1);
      }
    },
    read: (tensors, program) =>
      backend.read(program ? tensors.map((program as Checked).place) : tensors),
  }));

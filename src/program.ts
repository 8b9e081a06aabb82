import { EngineError } from './errors.ts';
import type { Op, Operands, Params } from './op.ts';
import { baseOf, byteLength, type DType, type Tensor } from './tensor.ts';

/** One recorded op: what to run on which tensors. */
export interface Command {
  /** What runs. */
  readonly op: Op;
  /** On which tensors, by the op's names. */
  readonly operands: Operands<string, Tensor>;
  /** With which numbers, by the op's names. */
  readonly params: Params<string>;
}

/**
 * A recorded sequence of ops, planned once and run many times: a decode step is recorded for the first
 * token and replayed for the others, with tokens and positions changed in place.
 *
 * What `z = relu(x · up) + x · down` becomes, where `x` has memory of its own and `up` and `down` are weights:
 *
 *     stages: [
 *       [ linear { x, w: up, y: a } { activation: relu },  linear { x, w: down, y: b } ],
 *       [ add { a, b, y: z } ],
 *     ]
 *     kept: { z }
 *
 * `a`, `b` and `z` are scratch: they have no memory until a backend compiles the recording and places them
 * (`placeScratch`). The two products may run side by side.
 */
export interface Recording {
  /** Commands of one stage do not depend on one another; stages run in order. */
  readonly stages: readonly (readonly Command[])[];
  /** Scratch tensors that may be read after a run: nothing else may take their memory. */
  readonly kept: ReadonlySet<Tensor>;
}

/**
 * Records ops instead of running them. Every function in `ops/` and `models/` takes one.
 *
 * Order of recording is the order of meaning: a command sees what earlier commands wrote. What runs
 * at the same time follows from which tensors are read and written, so a predictor that was recorded
 * after a projection still runs beside it.
 */
export class Recorder {
  /** Products with quantized weights take activations rounded to int8, which is faster. */
  readonly roundsActivations: boolean;
  readonly #commands: Command[] = [];
  readonly #kept = new Set<Tensor>();
  readonly #derived = new Map<Tensor, Tensor>();

  constructor(options: { readonly roundsActivations?: boolean } = {}) {
    this.roundsActivations = options.roundsActivations ?? false;
  }

  /** Memory that lives within one run of the program. Its contents are undefined until written. */
  scratch(dtype: DType, shape: readonly number[]): Tensor {
    return { dtype, shape, role: 'scratch', storage: undefined, byteOffset: 0 };
  }

  /**
   * Throws `BAD_SHAPE` where operands do not fit the op, `INTERNAL` where one, or a parameter, is not the op's, and
   * where a parameter is missing or no number.
   */
  record<O extends string, P extends string>(
    op: Op<O, P>,
    operands: Operands<O, Tensor>,
    params: Params<P>,
  ): void {
    expectListed(op, operands, params);
    op.check(operands, params);
    this.#commands.push({ op: op, operands, params });
  }

  /** What was recorded from `source` before, or is now: several ops may read one rounding of it. */
  once(source: Tensor, derive: () => Tensor): Tensor {
    const known = this.#derived.get(source) ?? derive();
    this.#derived.set(source, known);
    return known;
  }

  /** Let a scratch tensor keep its memory after the run, so that it can be read. */
  keep(tensor: Tensor): Tensor {
    this.#kept.add(baseOf(tensor));
    return tensor;
  }

  /** What has been recorded so far. */
  get commands(): readonly Command[] {
    return this.#commands;
  }

  /**
   * Throws `INTERNAL` where a command reads scratch that none before it writes; `part` of a step, which is only
   * timed, may read what it likes.
   */
  finish(of: 'whole' | 'part' = 'whole'): Recording {
    if (of === 'whole') expectWritten(this.#commands);
    const stageOf = assignStages(this.#commands);
    const stages: Command[][] = [];
    this.#commands.forEach((command, i) => (stages[stageOf[i]] ??= []).push(command));
    const used = new Set(
      this.#commands.flatMap(({ operands }) => Object.values(operands)).map((t) => t && baseOf(t)),
    );
    for (const tensor of this.#kept)
      if (!used.has(tensor) && !tensor.storage)
        throw new EngineError('INTERNAL', 'a kept tensor is written by no command');
    return { stages, kept: this.#kept };
  }
}

function expectListed(op: Op, operands: object, params: Readonly<Record<string, unknown>>): void {
  const list = (names: readonly string[]): string => names.join(', ') || '(none)';
  for (const name of Object.keys(operands))
    if (!op.operands.includes(name))
      throw new EngineError(
        'INTERNAL',
        `${op.name}: there is no operand ${name}; expected some of ${list(op.operands)}`,
      );
  for (const name of Object.keys(params))
    if (!op.params.includes(name))
      throw new EngineError(
        'INTERNAL',
        `${op.name}: there is no parameter ${name}; expected ${list(op.params)}`,
      );
  for (const name of op.params) {
    const value = params[name];
    if (typeof value !== 'number' || Number.isNaN(value))
      throw new EngineError(
        'INTERNAL',
        `${op.name}: parameter ${name} is ${String(value)}, expected a number`,
      );
  }
}

function expectWritten(commands: readonly Command[]): void {
  const written = new Set<Tensor>();
  for (const { op, operands } of commands) {
    const given = Object.entries(operands).flatMap(([name, tensor]) =>
      tensor && !tensor.storage ? [{ name, tensor, writes: op.writes.includes(name) }] : [],
    );
    for (const { name, tensor, writes } of given)
      if (!writes && !written.has(baseOf(tensor)))
        throw new EngineError(
          'INTERNAL',
          `${op.name}: reads ${name} [${tensor.shape}], scratch that no command before it writes`,
        );
    for (const { tensor, writes } of given) if (writes) written.add(baseOf(tensor));
  }
}

/** The earliest stage each command may run in: after what it reads was written, and so on. */
function assignStages(commands: readonly Command[]): number[] {
  const written = new Map<Tensor | object, number>();
  const read = new Map<Tensor | object, number>();
  return commands.map(({ op, operands }) => {
    const uses = Object.entries(operands).flatMap(([name, tensor]) =>
      tensor ? [{ memory: memoryOf(tensor), writes: op.writes.includes(name) }] : [],
    );
    let stage = 0;
    for (const { memory, writes } of uses) {
      stage = Math.max(stage, (written.get(memory) ?? -1) + 1);
      if (writes) stage = Math.max(stage, (read.get(memory) ?? -1) + 1);
    }
    for (const { memory, writes } of uses) {
      const table = writes ? written : read;
      table.set(memory, Math.max(stage, table.get(memory) ?? -1));
    }
    return stage;
  });
}

/** What hazards are tracked by: one allocation, or one scratch tensor. */
const memoryOf = (tensor: Tensor): object => tensor.storage ?? baseOf(tensor);

/** Where scratch tensors lie in one piece of memory. */
export interface Arena {
  /** First byte of each, without its views. */
  readonly offsets: ReadonlyMap<Tensor, number>;
  readonly bytes: number;
}

/**
 * Places for the scratch tensors of a recording, each at a multiple of `alignment` bytes: first fit, by the
 * stages they live in. Tensors of overlapping stages never share memory, so placement adds no dependency
 * between commands that may run side by side. For backends that keep scratch in one arena.
 */
export function placeScratch({ stages, kept }: Recording, alignment: number): Arena {
  interface Life {
    tensor: Tensor;
    first: number;
    last: number;
    bytes: number;
    offset: number;
  }
  const lives = new Map<Tensor, Life>();
  stages.forEach((commands, stage) => {
    for (const { operands } of commands)
      for (const tensor of Object.values(operands)) {
        if (!tensor || tensor.storage) continue;
        const base = baseOf(tensor);
        const life = lives.get(base);
        if (life) life.last = kept.has(base) ? Infinity : stage;
        else
          lives.set(base, {
            tensor: base,
            first: stage,
            last: kept.has(base) ? Infinity : stage,
            bytes: Math.ceil(byteLength(base.dtype, base.shape) / alignment) * alignment,
            offset: 0,
          });
      }
  });
  const placed: Life[] = [];
  let bytes = 0;
  for (const life of [...lives.values()].sort((a, b) => b.bytes - a.bytes)) {
    const neighbours = placed
      .filter((other) => other.first <= life.last && life.first <= other.last)
      .sort((a, b) => a.offset - b.offset);
    for (const other of neighbours) {
      if (life.offset + life.bytes <= other.offset) break;
      life.offset = Math.max(life.offset, other.offset + other.bytes);
    }
    placed.push(life);
    bytes = Math.max(bytes, life.offset + life.bytes);
  }
  return { offsets: new Map(placed.map((life) => [life.tensor, life.offset])), bytes };
}

import { EngineError } from '../../errors.ts';
import { activationOf } from '../../ops/activation.ts';
import type { Arena, Recording } from '../../program.ts';
import { baseOf, type Storage, type Tensor } from '../../tensor.ts';
import type { Vocabulary } from './agreement.ts';

export interface Tape {
  readonly numbers: Float64Array;
  /** The storages that operands name by number; `undefined` is the scratch arena. */
  readonly storages: readonly (Storage | undefined)[];
}

/**
 * A recording as one list of numbers, which native/src/program.cc reads:
 *
 *     stage:   number of commands, commands
 *     command: kernel, the stage that makes its selection (-1: none does), operands in the op's order,
 *              parameters in the op's order
 *     operand: -1 where absent; else storage, byte offset, dtype, rank, sizes
 *
 * Kernels, dtypes and activations go by their numbers in the addon, which are found by name. Throws `INTERNAL`
 * for a name that it does not have.
 */
export function toTape(
  recording: Recording,
  arena: Arena,
  { kernels, types, activations }: Vocabulary,
): Tape {
  const numbers: number[] = [];
  const places = new Map<Storage | undefined, number>();
  const numberOf = (what: string, name: string, names: readonly string[]): number => {
    const number = names.indexOf(name);
    if (number >= 0) return number;
    throw new EngineError(
      'INTERNAL',
      `native backend: no ${what} ${name}; expected one of ${names.join(', ')}`,
    );
  };
  const [ops, dtypes] = [kernels.map(({ op }) => op), types.map(({ name }) => name)];

  const put = (tensor: Tensor | undefined): void => {
    if (!tensor) {
      numbers.push(-1);
      return;
    }
    const { storage, dtype, shape, byteOffset } = tensor;
    const place = places.get(storage) ?? places.size;
    places.set(storage, place);
    const start = storage ? 0 : arena.offsets.get(baseOf(tensor))!;
    const type = numberOf('type', dtype, dtypes);
    numbers.push(place, start + byteOffset, type, shape.length, ...shape);
  };

  const writtenIn = new Map<Tensor, number>();
  for (const [stage, commands] of recording.stages.entries()) {
    numbers.push(commands.length);
    for (const { op, operands, params } of commands) {
      const kernel = numberOf('kernel for', op.name, ops);
      for (const name of op.writes) {
        const written = operands[name];
        if (written) writtenIn.set(baseOf(written), stage);
      }
      const select = operands['select'];
      numbers.push(kernel, select ? (writtenIn.get(baseOf(select)) ?? -1) : -1);
      for (const name of op.operands) put(operands[name]);
      for (const name of op.params)
        numbers.push(
          name === 'activation'
            ? numberOf('activation', activationOf(params[name]), activations)
            : params[name],
        );
    }
  }
  return { numbers: Float64Array.from(numbers), storages: [...places.keys()] };
}

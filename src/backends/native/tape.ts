import { EngineError } from '../../errors.ts';
import type { Recording } from '../../program.ts';
import { baseOf, type DType, quantizedTypes, type Storage, type Tensor } from '../../tensor.ts';

/** In the order of `DType` in native/src/tensor.h. */
const dtypes: readonly DType[] = [
  ...(['f32', 'f16', 'bf16'] as const),
  ...quantizedTypes,
  ...(['u8', 'i32', 'u32'] as const),
];

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
 * `kernels` are the names of ops by kernel number.
 */
export function toTape(recording: Recording, kernels: readonly string[]): Tape {
  const numbers: number[] = [];
  const places = new Map<Storage | undefined, number>();

  const put = (tensor: Tensor | undefined): void => {
    if (!tensor) {
      numbers.push(-1);
      return;
    }
    const { storage, dtype, shape, byteOffset } = tensor;
    const place = places.get(storage) ?? places.size;
    places.set(storage, place);
    const start = storage ? 0 : recording.scratch.get(baseOf(tensor))!;
    numbers.push(place, start + byteOffset, dtypes.indexOf(dtype), shape.length, ...shape);
  };

  const writtenIn = new Map<Tensor, number>();
  for (const [stage, commands] of recording.stages.entries()) {
    numbers.push(commands.length);
    for (const { op, operands, params } of commands) {
      const kernel = kernels.indexOf(op.name);
      if (kernel < 0) throw new EngineError('INTERNAL', `native backend: no kernel for ${op.name}`);
      for (const name of op.writes) {
        const written = operands[name];
        if (written) writtenIn.set(baseOf(written), stage);
      }
      const select = operands['select'];
      numbers.push(kernel, select ? (writtenIn.get(baseOf(select)) ?? -1) : -1);
      for (const name of op.operands) put(operands[name]);
      for (const name of op.params) numbers.push(params[name]);
    }
  }
  return { numbers: Float64Array.from(numbers), storages: [...places.keys()] };
}

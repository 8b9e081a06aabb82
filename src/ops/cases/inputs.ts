import { f32, hostTensor, i32, rowWriter, u32 } from '../../rows.ts';
import type { Case, HostTensor, Op } from '../../op.ts';
import { mulberry32 } from '../../random.ts';
import type { DType } from '../../tensor.ts';

/** What rounding both factors to bf16 may change, as a share of the output's largest magnitude. */
export const tileTolerance = 4e-3;

/** What an op is tested with on every backend: odd sizes, K of 0, 1 and all, every dtype taken. */
export interface CasesOf<O extends string = string, P extends string = string> {
  readonly op: Op<O, P>;
  readonly make: () => Case<O, P>[];
}

/** The cases of an op; whatever a file of this folder exports of them is run (test/support/run-op.ts). */
export const casesOf = <O extends string, P extends string>(
  op: Op<O, P>,
  make: () => Case<O, P>[],
): CasesOf<O, P> => ({ op, make });

/** Inputs for op cases, the same on every machine: each call continues one seeded sequence. */
export class Inputs {
  /** Uniform in [0, 1). */
  readonly uniform: () => number;

  constructor(seed: number) {
    this.uniform = mulberry32(seed);
  }

  /** Numbers in [-1, 1), encoded as `dtype`. */
  numbers(shape: readonly number[], dtype: DType = 'f32'): HostTensor {
    const tensor = hostTensor(dtype, shape);
    const write = rowWriter(tensor);
    const columns = shape.at(-1) ?? 1;
    const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
    for (let row = 0; row < rows; row++)
      write(
        row,
        Float32Array.from({ length: columns }, () => 2 * this.uniform() - 1),
      );
    return tensor;
  }

  integers(values: readonly number[], shape: readonly number[] = [values.length]): HostTensor {
    const tensor = hostTensor('i32', shape);
    i32(tensor).set(values);
    return tensor;
  }

  /** A selection [R, 1 + n] that keeps the given share of indices in each row. */
  selection(rows: number, n: number, share: number): HostTensor {
    const tensor = hostTensor('u32', [rows, 1 + n]);
    for (let row = 0; row < rows; row++) {
      const chosen = Array.from({ length: n }, (_, i) => i).filter(() => this.uniform() < share);
      u32(tensor).set([chosen.length, ...chosen], row * (1 + n));
    }
    return tensor;
  }
}

/** An output operand, filled with NaN so that what a kernel leaves unwritten is seen. */
export function output(shape: readonly number[]): HostTensor {
  const tensor = hostTensor('f32', shape);
  f32(tensor).fill(NaN);
  return tensor;
}

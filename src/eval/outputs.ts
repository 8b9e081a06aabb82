import { EngineError } from '../errors.ts';
import { readSafetensors } from '../loaders/files.ts';
import type { HostTensor } from '../op.ts';
import type { DType } from '../tensor.ts';

/** The largest error of some outputs, and the range of their reference: largest minus smallest. */
export interface Difference {
  /** The largest absolute error. */
  readonly maxError: number;
  /** Largest minus smallest of what was expected. */
  readonly range: number;
}

/** The tensors of a file, by name and type. Throws `MISSING_TENSOR`, `BAD_SHAPE`. */
export async function openTensors(
  path: string,
): Promise<((name: string, dtype: DType) => HostTensor) & { has(name: string): boolean }> {
  const { tensors } = await readSafetensors(path);
  const take = (name: string, dtype: DType): HostTensor => {
    const tensor = tensors.get(name);
    if (!tensor)
      throw new EngineError(
        'MISSING_TENSOR',
        `${path}: has no tensor ${name}; expected reference outputs, as src/eval/golden.ts lists them`,
      );
    if (tensor.dtype !== dtype)
      throw new EngineError(
        'BAD_SHAPE',
        `${path}, ${name}: is ${tensor.dtype} [${tensor.shape}]; expected ${dtype}; make it again`,
      );
    return tensor;
  };
  return Object.assign(take, { has: (name: string) => tensors.has(name) });
}

/** The largest error, and the range of what was expected. */
export function compare(found: Float32Array, expected: Float32Array): Difference {
  let [maxError, least, most] = [0, Infinity, -Infinity];
  expected.forEach((x, i) => {
    const error = Math.abs(found[i] - x);
    maxError = Math.max(maxError, Number.isNaN(error) ? Infinity : error);
    least = Math.min(least, x);
    most = Math.max(most, x);
  });
  return { maxError, range: most - least };
}

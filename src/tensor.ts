import { EngineError } from './errors.ts';

/**
 * Element types. `int8` is a weight encoding, not a plain array: see `rowBytes`. `bf16` only occurs in
 * files; it is converted on load.
 */
export type DType = 'f32' | 'f16' | 'bf16' | 'int8' | 'u8' | 'i32' | 'u32';

/** What a piece of memory is for; traffic is reported by role. */
export type Role = 'weights' | 'predictor' | 'kv' | 'state' | 'scratch';

/** Memory of one backend. Opaque here; each backend extends it. */
export interface Storage {
  readonly bytes: number;
  readonly role: Role;
}

/**
 * A handle to memory: a type, a row-major shape and a place. It owns nothing and does no arithmetic.
 *
 * `storage` is undefined for scratch of a recording until the backend places it (program.ts).
 */
export interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly role: Role;
  readonly storage: Storage | undefined;
  readonly byteOffset: number;
}

/** Weights in one `int8` group share one f16 scale. */
export const int8Group = 32;

const plainBytes = { f32: 4, f16: 2, bf16: 2, u8: 1, i32: 4, u32: 4 } as const;

/**
 * Bytes of one row of `columns` elements.
 *
 * A row of `int8` is its elements, zero-padded to a multiple of 4, then one f16 scale for each group
 * of 32, the whole padded to a multiple of 4: element = q * scale. A row is contiguous, scales
 * included, so a neuron that is skipped is memory that nobody touches.
 */
export function rowBytes(dtype: DType, columns: number): number {
  if (dtype !== 'int8') return plainBytes[dtype] * columns;
  return int8ScaleOffset(columns) + pad4(2 * Math.ceil(columns / int8Group));
}

/** Where the scales begin within an `int8` row. */
export const int8ScaleOffset = (columns: number): number => pad4(columns);

const pad4 = (bytes: number): number => (bytes + 3) & ~3;

/** Number of elements. */
export const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Bytes a tensor of this type and shape occupies. The last axis is the row. */
export function byteLength(dtype: DType, shape: readonly number[]): number {
  const columns = shape.at(-1) ?? 1;
  return size(shape.slice(0, -1)) * rowBytes(dtype, columns);
}

/** Rows `[start, start + count)` of the first axis, sharing memory. */
export function slice(tensor: Tensor, start: number, count: number): Tensor {
  const [rows = 0, ...rest] = tensor.shape;
  if (start < 0 || count < 0 || start + count > rows)
    throw new EngineError('INTERNAL', `slice ${start}+${count} of ${rows} rows`);
  const stride = byteLength(tensor.dtype, [1, ...rest]);
  return view(tensor, [count, ...rest], tensor.byteOffset + start * stride);
}

/** The same elements in another shape; the last axis of `int8` must stay. */
export function reshape(tensor: Tensor, shape: readonly number[]): Tensor {
  if (size(shape) !== size(tensor.shape))
    throw new EngineError('INTERNAL', `cannot reshape [${tensor.shape}] to [${shape}]`);
  return view(tensor, shape, tensor.byteOffset);
}

/** A view names its base, so that hazards and placement see one piece of memory. */
export interface View extends Tensor {
  readonly base: Tensor;
}

export const baseOf = (tensor: Tensor): Tensor => (tensor as Partial<View>).base ?? tensor;

function view(tensor: Tensor, shape: readonly number[], byteOffset: number): View {
  const { dtype, role, storage } = tensor;
  return { dtype, shape, role, storage, byteOffset, base: baseOf(tensor) };
}

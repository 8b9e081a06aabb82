import { EngineError } from './errors.ts';

/**
 * Element types. `int8` and `int4` are weight encodings, not plain arrays: see `rowBytes`. `bf16` only
 * occurs in files; it is converted on load.
 */
export type DType = 'f32' | 'f16' | 'bf16' | 'int8' | 'int4' | 'u8' | 'i32' | 'u32';

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

/** Consecutive weights of a quantized row that share one f16 scale. */
export const quantGroup = 32;

const plainBytes = { f32: 4, f16: 2, bf16: 2, u8: 1, i32: 4, u32: 4 } as const;

export const isQuantized = (dtype: DType): dtype is 'int8' | 'int4' =>
  dtype === 'int8' || dtype === 'int4';

/**
 * Bytes of one row of `columns` elements.
 *
 * A quantized row is its codes, zero-padded to a multiple of 4 bytes, then one f16 scale for each group
 * of 32, padded to a multiple of 4 bytes: element = code * scale. A row is contiguous, scales
 * included, so a neuron that is skipped is memory that nobody touches.
 *
 * `int8` codes are signed bytes. `int4` codes take 16 bytes a group, the last group too: byte i holds
 * element i of the group in its low half and element i + 16 in its high half, each as code + 8.
 */
export function rowBytes(dtype: DType, columns: number): number {
  if (!isQuantized(dtype)) return plainBytes[dtype] * columns;
  return scaleOffset(dtype, columns) + pad4(2 * Math.ceil(columns / quantGroup));
}

/** Where the scales begin within a quantized row. */
export const scaleOffset = (dtype: 'int8' | 'int4', columns: number): number =>
  dtype === 'int8' ? pad4(columns) : (quantGroup / 2) * Math.ceil(columns / quantGroup);

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

/** The same elements in another shape; the last axis of quantized types must stay. */
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

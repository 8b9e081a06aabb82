import { EngineError } from './errors.ts';

/**
 * Element types. Quantized ones are weight encodings, not plain arrays: see `rowBytes`. `bf16` only
 * occurs in files; it is converted on load.
 */
export type DType = 'f32' | 'f16' | 'bf16' | QuantizedType | 'u8' | 'i32' | 'u32';

/** What a piece of memory is for; traffic is reported by role. */
export type Role = 'weights' | 'predictor' | 'kv' | 'state' | 'scratch';

/** Memory of one backend. Opaque here; each backend extends it. */
export interface Storage {
  /** Its size. */
  readonly bytes: number;
  /** What it is for. */
  readonly role: Role;
}

/**
 * A handle to memory: a type, a row-major shape and a place. It owns nothing and does no arithmetic.
 *
 * `storage` is undefined for scratch of a recording until the backend places it (program.ts).
 */
export interface Tensor {
  /** Type of its elements. */
  readonly dtype: DType;
  /** Sizes of its axes, outermost first. */
  readonly shape: readonly number[];
  /** What it is for. */
  readonly role: Role;
  /** Where it lies. */
  readonly storage: Storage | undefined;
  /** Of its first element in the storage. */
  readonly byteOffset: number;
}

/** How a quantized row is written. */
export interface Format {
  /** Of one code. */
  readonly bits: 2 | 4 | 8;
  /** Consecutive elements of a row that share one f16 scale. */
  readonly group: 32 | 64 | 128;
  /** They share an f16 minimum too, which a code of 0 stands for. */
  readonly minima: boolean;
  /** The least code and the greatest. */
  readonly low: number;
  readonly high: number;
  /** What stands for 0 where there are no minima; 1.5 lies between two codes. */
  readonly zero: 0 | 1.5;
}

const symmetric = { bits: 4, minima: false, low: -8, high: 7, zero: 0 } as const;
const affine = { bits: 4, minima: true, low: 0, high: 15, zero: 0 } as const;

/** Every quantized type; native/src/tensor.h has the same table, in the same order. */
const formats = {
  int8: { bits: 8, group: 32, minima: false, low: -127, high: 127, zero: 0 },
  int4: { ...symmetric, group: 32 },
  int4g64: { ...symmetric, group: 64 },
  int4g128: { ...symmetric, group: 128 },
  int4z: { ...affine, group: 32 },
  int4g64z: { ...affine, group: 64 },
  int4g128z: { ...affine, group: 128 },
  int2g128: { bits: 2, group: 128, minima: false, low: 0, high: 3, zero: 1.5 },
} as const satisfies Record<string, Format>;

/** A type whose rows are codes in groups that share a scale. */
export type QuantizedType = keyof typeof formats;

export const quantizedTypes = Object.keys(formats) as readonly QuantizedType[];

/** Those that models come in: what has 2 bits, predictors are, which are trained in them. */
export const modelTypes = quantizedTypes.filter(
  (type): type is Exclude<QuantizedType, 'int2g128'> => type !== 'int2g128',
);

export const isQuantized = (dtype: DType): dtype is QuantizedType => Object.hasOwn(formats, dtype);

export const formatOf = <T extends QuantizedType>(dtype: T): (typeof formats)[T] & Format =>
  formats[dtype];

/** The type with this format; undefined where there is none. */
export const typeOfFormat = (wanted: Pick<Format, 'bits' | 'group' | 'minima'>) =>
  quantizedTypes.find((type) => {
    const { bits, group, minima } = formatOf(type);
    return bits === wanted.bits && group === wanted.group && minima === wanted.minima;
  });

/** Elements of a quantized row whose codes lie together; groups are whole numbers of them. */
export const quantGroup = 32;

const plainBytes = { f32: 4, f16: 2, bf16: 2, u8: 1, i32: 4, u32: 4 } as const;

/**
 * Bytes of one row of `columns` elements.
 *
 * A quantized row is its codes, then one f16 scale for each group, then, where the format has them,
 * one f16 minimum for each group; each of the three is padded to a multiple of 4 bytes. The last group may
 * be shorter. element = (code - zero) * scale, plus the minimum. A row is contiguous, scales included, so
 * a neuron that is skipped is memory that nobody touches.
 *
 * Codes of 8 bits are signed bytes. Codes of 4 bits take 16 bytes for each 32 elements, the last too:
 * byte i holds element i of them in its low half and element i + 16 in its high half, each as
 * code - low, which is 0 to 15. So `int4` is GGUF's Q4_0 and `int4z` its Q4_1, gathered by rows. Codes of
 * 2 bits take 8 bytes for each 32 elements: byte i holds elements i, i + 8, i + 16 and i + 24 of them, from
 * its lowest bits up.
 */
export function rowBytes(dtype: DType, columns: number): number {
  if (!isQuantized(dtype)) {
    if (Object.hasOwn(plainBytes, dtype)) return plainBytes[dtype] * columns;
    const known = [...Object.keys(plainBytes), ...quantizedTypes].join(', ');
    throw new EngineError('INTERNAL', `there is no type ${String(dtype)}, expected ${known}`);
  }
  const groups = groupBytes(dtype, columns);
  return scaleOffset(dtype, columns) + (formatOf(dtype).minima ? 2 : 1) * groups;
}

/** Where the scales begin within a quantized row. */
export const scaleOffset = (dtype: QuantizedType, columns: number): number =>
  formatOf(dtype).bits === 8
    ? pad4(columns)
    : ((quantGroup * formatOf(dtype).bits) / 8) * Math.ceil(columns / quantGroup);

/** Where the minima begin within a row of a type that has them. */
export const minimumOffset = (dtype: QuantizedType, columns: number): number =>
  scaleOffset(dtype, columns) + groupBytes(dtype, columns);

/** Bytes of one f16 for each group of a row. */
const groupBytes = (dtype: QuantizedType, columns: number): number =>
  pad4(2 * Math.ceil(columns / formatOf(dtype).group));

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

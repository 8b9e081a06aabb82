import type { HostTensor } from './op.ts';
import { f16ToF32, f32ToF16 } from './float16.ts';
import {
  byteLength,
  type DType,
  type Format,
  formatOf,
  isQuantized,
  minimumOffset,
  quantGroup,
  type QuantizedType,
  rowBytes,
  scaleOffset,
  size,
} from './tensor.ts';

/** A zeroed tensor in JavaScript's memory. */
export function hostTensor(dtype: DType, shape: readonly number[]): HostTensor {
  return { dtype, shape, bytes: new Uint8Array(byteLength(dtype, shape)) };
}

export const f32 = (t: HostTensor): Float32Array =>
  new Float32Array(t.bytes.buffer, t.bytes.byteOffset, size(t.shape));
export const i32 = (t: HostTensor): Int32Array =>
  new Int32Array(t.bytes.buffer, t.bytes.byteOffset, size(t.shape));
export const u32 = (t: HostTensor): Uint32Array =>
  new Uint32Array(t.bytes.buffer, t.bytes.byteOffset, size(t.shape));
const u16 = (t: HostTensor): Uint16Array =>
  new Uint16Array(t.bytes.buffer, t.bytes.byteOffset, size(t.shape));

/** Decodes one row (all but the last axis flattened) of any weight type into `into`. */
export function rowReader(t: HostTensor): (row: number, into: Float32Array) => void {
  const columns = t.shape.at(-1) ?? 1;
  if (isQuantized(t.dtype)) return quantizedReader(t, t.dtype);
  switch (t.dtype) {
    case 'f32': {
      const data = f32(t);
      return (row, into) => into.set(data.subarray(row * columns, (row + 1) * columns));
    }
    case 'f16': {
      const data = u16(t);
      const table = f16ToF32;
      return (row, into) => {
        for (let i = 0; i < columns; i++) into[i] = table[data[row * columns + i]];
      };
    }
    case 'bf16': {
      const data = u16(t);
      const word = new Uint32Array(1);
      const value = new Float32Array(word.buffer);
      return (row, into) => {
        for (let i = 0; i < columns; i++) {
          word[0] = data[row * columns + i] << 16;
          into[i] = value[0]!;
        }
      };
    }
    default:
      throw new TypeError(`${t.dtype} rows are not numbers`);
  }
}

/** Encodes rows of f32 as any weight type a backend computes with. */
export function rowWriter(t: HostTensor): (row: number, from: Float32Array) => void {
  const columns = t.shape.at(-1) ?? 1;
  if (isQuantized(t.dtype)) return quantizedWriter(t, t.dtype);
  switch (t.dtype) {
    case 'f32': {
      const data = f32(t);
      return (row, from) => data.set(from, row * columns);
    }
    case 'f16': {
      const data = u16(t);
      return (row, from) => {
        for (let i = 0; i < columns; i++) data[row * columns + i] = f32ToF16(from[i]);
      };
    }
    default:
      throw new TypeError(`${t.dtype} rows are not weights`);
  }
}

function quantizedReader(
  t: HostTensor,
  dtype: QuantizedType,
): (row: number, into: Float32Array) => void {
  const { bits, group, minima, low, zero } = formatOf(dtype);
  const { columns, codes, numbers, stride, scaleStart, minimumStart } = places(t, dtype);
  const [together, mask] = [(quantGroup * bits) / 8, (1 << bits) - 1];
  return (row, into) => {
    const start = row * stride;
    for (let first = 0; first < columns; first += quantGroup) {
      const g = Math.floor(first / group);
      const step = f16ToF32[numbers[scaleStart(row) + g]];
      const minimum = minima ? f16ToF32[numbers[minimumStart(row) + g]] : atZero(zero, step);
      const last = Math.min(first + quantGroup, columns);
      if (bits === 8) {
        for (let i = first; i < last; i++) into[i] = codes[start + i] * step + minimum;
        continue;
      }
      const bytes = start + (first * bits) / 8;
      for (let shift = 0, from = first; from < last; shift += bits, from += together)
        for (let i = from; i < from + together && i < last; i++)
          into[i] = (((codes[bytes + i - from] >> shift) & mask) + low) * step + minimum;
    }
  };
}

/** What to add where there are no minima; -0 changes no sum, not even one of -0. */
const atZero = (zero: number, step: number): number => (zero ? -zero * step : -0);

/** Rounds to the nearest code of the grid that `stepFor` or `reachRange` chooses for each group. */
function quantizedWriter(
  t: HostTensor,
  dtype: QuantizedType,
): (row: number, from: Float32Array) => void {
  const format = formatOf(dtype);
  const { group, low, high, zero } = format;
  const columns = t.shape.at(-1) ?? 1;
  const groups = Math.ceil(columns / group);
  const chosen = new Int8Array(columns);
  const [steps, minima] = [new Uint16Array(groups), new Uint16Array(groups)];
  const write = codeWriter(t);
  return (row, from) => {
    for (let g = 0; g < groups; g++) {
      const [first, last] = [g * group, Math.min((g + 1) * group, columns)];
      if (format.minima) reachRange(from, first, last, steps, minima, g);
      else steps[g] = stepFor(from, first, last, format);
      const step = f16ToF32[steps[g]];
      const minimum = format.minima ? f16ToF32[minima[g]] : atZero(zero, step);
      for (let i = first; i < last; i++) {
        const nearest = step === 0 ? 0 : roundEven(Math.fround((from[i] - minimum) / step));
        chosen[i] = nearest > high ? high : nearest < low ? low : nearest;
      }
    }
    write(row, chosen, steps, minima);
  };
}

/**
 * The step of 2 bits, as a share of the mean magnitude. Codes then reach 0.6 of the mean, and what is further out
 * is cut off: 1.248 would lose least of normal numbers, but nets that are trained with this rounding choose
 * better the shorter the step (docs/log.md).
 */
const meanStep = 0.4;

/**
 * f16 bits of a scale. The element furthest from zero decides, of 4 bits as code -8, which has no
 * opposite; of 2 bits the mean.
 */
function stepFor(
  values: Float32Array,
  first: number,
  last: number,
  { bits, high, low }: Format,
): number {
  if (bits === 2) {
    let sum = 0;
    for (let i = first; i < last; i++) sum += Math.abs(values[i]);
    return f32ToF16((sum / (last - first)) * meanStep);
  }
  let furthest = 0;
  for (let i = first; i < last; i++)
    if (Math.abs(values[i]) > Math.abs(furthest)) furthest = values[i];
  return f32ToF16(bits === 8 ? Math.abs(furthest) / high : furthest / low);
}

/** f16 bits of the scale and the minimum of group `g`, from its least element to its greatest. */
function reachRange(
  values: Float32Array,
  first: number,
  last: number,
  steps: Uint16Array,
  minima: Uint16Array,
  g: number,
): void {
  let [least, greatest] = [values[first], values[first]];
  for (let i = first + 1; i < last; i++) {
    if (values[i] < least) least = values[i];
    if (values[i] > greatest) greatest = values[i];
  }
  minima[g] = f32ToF16(least);
  steps[g] = f32ToF16((greatest - f16ToF32[minima[g]]) / 15);
}

/**
 * Writes rows whose codes [columns] and f16 bits of scales and of minima [groups] were chosen
 * elsewhere; minima only where the type has them.
 */
export function codeWriter(
  t: HostTensor,
): (row: number, chosen: Int8Array, steps: Uint16Array, minima?: Uint16Array) => void {
  if (!isQuantized(t.dtype)) throw new TypeError(`${t.dtype} rows have no codes`);
  const { bits, low, minima: affine } = formatOf(t.dtype);
  const { columns, codes, numbers, stride, scaleStart, minimumStart } = places(t, t.dtype);
  const padded = Math.ceil(columns / quantGroup) * quantGroup;
  const together = (quantGroup * bits) / 8;
  return (row, chosen, steps, minima) => {
    const start = row * stride;
    codes.fill(0, start, start + stride);
    numbers.set(steps, scaleStart(row));
    if (affine) numbers.set(minima!, minimumStart(row));
    if (bits === 8) codes.set(chosen, start);
    else
      for (let first = 0, bytes = start; first < padded; first += quantGroup, bytes += together)
        for (let i = 0; i < quantGroup; i++) {
          const code = first + i < columns ? chosen[first + i] : 0;
          codes[bytes + (i & (together - 1))] |= (code - low) << (bits * Math.floor(i / together));
        }
  };
}

/** Where everything is in a quantized tensor: rows of `stride` bytes, scales of a row from `scaleStart`. */
function places(
  t: HostTensor,
  dtype: QuantizedType,
): {
  columns: number;
  codes: Int8Array;
  /** Bits of f16: what `scaleStart` and `minimumStart` count in. */
  numbers: Uint16Array;
  stride: number;
  scaleStart: (row: number) => number;
  minimumStart: (row: number) => number;
} {
  const columns = t.shape.at(-1) ?? 1;
  const stride = rowBytes(dtype, columns);
  const { buffer, byteOffset, byteLength: length } = t.bytes;
  const [scales, minima] = [scaleOffset(dtype, columns), minimumOffset(dtype, columns)];
  return {
    columns,
    codes: new Int8Array(buffer, byteOffset, length),
    numbers: new Uint16Array(buffer, byteOffset, length >> 1),
    stride,
    scaleStart: (row) => (row * stride + scales) >> 1,
    minimumStart: (row) => (row * stride + minima) >> 1,
  };
}

/** Round half to even, as vector hardware does: adding 1.5 * 2^52 leaves no room for a fraction. */
const roundEven = (x: number): number => x + 6755399441055744 - 6755399441055744;

import type { HostTensor } from './op.ts';
import { f16ToF32, f32ToF16 } from './float16.ts';
import {
  byteLength,
  type DType,
  isQuantized,
  quantGroup,
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
    case 'int8':
    case 'int4': {
      const { codes, scales, stride, scaleStart } = quantized(t, t.dtype);
      const wide = t.dtype === 'int8';
      return (row, into) => {
        const start = row * stride;
        let scale = scaleStart(row);
        for (let first = 0; first < columns; first += quantGroup) {
          const step = f16ToF32[scales[scale++]];
          const last = Math.min(first + quantGroup, columns);
          if (wide) {
            for (let i = first; i < last; i++) into[i] = codes[start + i] * step;
            continue;
          }
          const half = Math.min(first + quantGroup / 2, last);
          const bytes = start + first / 2;
          for (let i = first; i < half; i++) into[i] = ((codes[bytes + i - first] & 15) - 8) * step;
          for (let i = half; i < last; i++)
            into[i] = (((codes[bytes + i - half] >> 4) & 15) - 8) * step;
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
    case 'int8':
    case 'int4': {
      const { codes, scales, stride, scaleStart } = quantized(t, t.dtype);
      const wide = t.dtype === 'int8';
      const low = wide ? -127 : -8;
      const high = wide ? 127 : 7;
      return (row, from) => {
        const start = row * stride;
        codes.fill(0, start, start + stride);
        for (let first = 0; first < columns; first += quantGroup) {
          const last = Math.min(first + quantGroup, columns);
          // Of int4 the element furthest from zero becomes code -8, which has no opposite.
          let furthest = 0;
          for (let i = first; i < last; i++)
            if (Math.abs(from[i]) > Math.abs(furthest)) furthest = from[i];
          const bits = f32ToF16(wide ? Math.abs(furthest) / 127 : furthest / -8);
          const step = f16ToF32[bits];
          scales[scaleStart(row) + first / quantGroup] = bits;
          for (let i = first; i < last; i++) {
            const nearest = step === 0 ? 0 : roundEven(Math.fround(from[i] / step));
            const q = nearest > high ? high : nearest < low ? low : nearest | 0;
            if (wide) codes[start + i] = q;
            else codes[start + int4Byte(i)] |= (q + 8) << (i & 16 ? 4 : 0);
          }
          if (!wide)
            for (let i = last; i < first + quantGroup; i++)
              codes[start + int4Byte(i)] |= 8 << (i & 16 ? 4 : 0);
        }
      };
    }
    default:
      throw new TypeError(`${t.dtype} rows are not weights`);
  }
}

/** Writes rows whose codes [columns] and f16 bits of scales [columns / 32] were chosen elsewhere. */
export function codeWriter(
  t: HostTensor,
): (row: number, chosen: Int8Array, steps: Uint16Array) => void {
  if (!isQuantized(t.dtype)) throw new TypeError(`${t.dtype} rows have no codes`);
  const wide = t.dtype === 'int8';
  const columns = t.shape.at(-1) ?? 1;
  const padded = Math.ceil(columns / quantGroup) * quantGroup;
  const { codes, scales, stride, scaleStart } = quantized(t, t.dtype);
  return (row, chosen, steps) => {
    const start = row * stride;
    codes.fill(0, start, start + stride);
    scales.set(steps, scaleStart(row));
    if (wide) codes.set(chosen, start);
    else
      for (let i = 0; i < padded; i++) {
        const code = i < columns ? chosen[i] : 0;
        codes[start + int4Byte(i)] |= (code + 8) << (i & 16 ? 4 : 0);
      }
  };
}

/** Codes and scales of a quantized tensor: rows of `stride` bytes, scales of a row from `scaleStart`. */
function quantized(
  t: HostTensor,
  dtype: 'int8' | 'int4',
): {
  codes: Int8Array;
  scales: Uint16Array;
  stride: number;
  scaleStart: (row: number) => number;
} {
  const columns = t.shape.at(-1) ?? 1;
  const stride = rowBytes(dtype, columns);
  const { buffer, byteOffset, byteLength: length } = t.bytes;
  return {
    codes: new Int8Array(buffer, byteOffset, length),
    scales: new Uint16Array(buffer, byteOffset, length >> 1),
    stride,
    scaleStart: (row) => (row * stride + scaleOffset(dtype, columns)) >> 1,
  };
}

/** Which byte of an `int4` row holds element i. */
const int4Byte = (i: number): number => (i >> 5) * 16 + (i & 15);

/** Round half to even, as vector hardware does: adding 1.5 * 2^52 leaves no room for a fraction. */
const roundEven = (x: number): number => x + 6755399441055744 - 6755399441055744;

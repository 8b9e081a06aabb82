import type { HostTensor } from './op.ts';
import { f16ToF32, f32ToF16 } from './float16.ts';
import { byteLength, type DType, int8Group, int8ScaleOffset, rowBytes, size } from './tensor.ts';

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
      return (row, into) => {
        for (let i = 0; i < columns; i++) into[i] = f16ToF32[data[row * columns + i]]!;
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
    case 'int8': {
      const stride = rowBytes('int8', columns);
      const scaleOffset = int8ScaleOffset(columns);
      const data = new Int8Array(t.bytes.buffer, t.bytes.byteOffset, t.bytes.byteLength);
      const scales = new Uint16Array(t.bytes.buffer, t.bytes.byteOffset, t.bytes.byteLength >> 1);
      return (row, into) => {
        const start = row * stride;
        const scaleStart = (start + scaleOffset) >> 1;
        for (let i = 0; i < columns; i++)
          into[i] = data[start + i] * f16ToF32[scales[scaleStart + ((i / int8Group) | 0)]];
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
    case 'int8': {
      const stride = rowBytes('int8', columns);
      const scaleOffset = int8ScaleOffset(columns);
      const data = new Int8Array(t.bytes.buffer, t.bytes.byteOffset, t.bytes.byteLength);
      const scales = new Uint16Array(t.bytes.buffer, t.bytes.byteOffset, t.bytes.byteLength >> 1);
      return (row, from) => {
        const start = row * stride;
        for (let g = 0; g * int8Group < columns; g++) {
          const first = g * int8Group;
          const last = Math.min(first + int8Group, columns);
          let peak = 0;
          for (let i = first; i < last; i++) peak = Math.max(peak, Math.abs(from[i]));
          const code = f32ToF16(peak / 127);
          const scale = f16ToF32[code];
          scales[((start + scaleOffset) >> 1) + g] = code;
          for (let i = first; i < last; i++)
            data[start + i] = scale > 0 ? clamp127(roundEven(from[i] / scale)) : 0;
        }
      };
    }
    default:
      throw new TypeError(`${t.dtype} rows are not weights`);
  }
}

const clamp127 = (q: number): number => Math.max(-127, Math.min(127, q));

/** Round half to even, as vector hardware does. */
function roundEven(x: number): number {
  const r = Math.round(x);
  return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r;
}

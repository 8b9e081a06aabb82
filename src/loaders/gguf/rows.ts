import { f32ToF16 } from '../../float16.ts';
import {
  byteLength,
  minimumOffset,
  quantGroup,
  type QuantizedType,
  rowBytes,
  scaleOffset,
} from '../../tensor.ts';
import { convertRows, type WeightType } from '../convert.ts';
import {
  type BlockType,
  decoders,
  fives,
  half,
  halves,
  iq4Levels,
  iq4xsScale,
  scaleAndMinimum,
} from './blocks.ts';
import { type Layout, layoutNamed } from './types.ts';

/** How a quantized type of GGUF becomes one of ours. */
export interface Quantized extends Layout {
  readonly type: BlockType;
  /** The type of ours that holds what it holds, or the nearest that does. */
  readonly keeps: WeightType;
}

/** A quantized type by name; undefined for others and for those that are not decoded. */
export function quantizedType(name: string): Quantized | undefined {
  if (!Object.hasOwn(decoders, name)) return undefined;
  const type = name as BlockType;
  return { ...layoutNamed(type), type, keeps: exact[type]?.dtype ?? 'int8' };
}

/** All decoded quantized types. */
export const quantizedTypes = Object.keys(decoders);

/**
 * Rows of `columns` elements as rows of ours. Types that have a group of 32 to a scale, as ours have, are
 * taken over code by code; others are decoded and rounded anew.
 */
export function convertBlocks(
  bytes: Uint8Array,
  { type, block, blockBytes }: Quantized,
  columns: number,
  to: WeightType,
  where: string,
): Uint8Array<ArrayBuffer> {
  const taken = exact[type];
  if (taken?.dtype !== to) {
    const values = decodeBlocks(bytes, type);
    return convertRows(new Uint8Array(values.buffer), 'f32', to, columns, where);
  }
  const into = new Uint8Array(
    byteLength(to, [bytes.length / ((columns / block) * blockBytes), columns]),
  );
  const stride = rowBytes(to, columns);
  const codes = (block * scaleOffset(to, columns)) / columns;
  const perGroup = (2 * block) / quantGroup;
  for (let at = 0, row = 0; at < bytes.length; row += stride)
    for (let b = 0; b * block < columns; b++, at += blockBytes)
      taken.take(bytes, at, into, {
        codes: row + b * codes,
        scales: row + scaleOffset(to, columns) + b * perGroup,
        minima: row + minimumOffset(to, columns) + b * perGroup,
      });
  return into;
}

/** Every element as f32. */
export function decodeBlocks(bytes: Uint8Array, type: BlockType): Float32Array<ArrayBuffer> {
  const { block, blockBytes } = layoutNamed(type);
  const count = bytes.length / blockBytes;
  const values = new Float32Array(count * block);
  const decodeBlock = decoders[type];
  for (let i = 0; i < count; i++) decodeBlock(bytes, i * blockBytes, values, i * block);
  return values;
}

/**
 * Columns from `first` on of a matrix of `rows` x `width` elements, each as a row of f32; `count` of
 * them, both numbers of whole blocks.
 */
export function decodeColumns(
  bytes: Uint8Array,
  { type, block, blockBytes }: Quantized,
  { rows, width, first, count }: { rows: number; width: number; first: number; count: number },
): Uint8Array<ArrayBuffer> {
  const values = new Float32Array(count * rows);
  const part = new Float32Array(count);
  const decodeBlock = decoders[type];
  const stride = (width / block) * blockBytes;
  for (let row = 0; row < rows; row++) {
    const start = row * stride + (first / block) * blockBytes;
    for (let b = 0; b * block < count; b++)
      decodeBlock(bytes, start + b * blockBytes, part, b * block);
    for (let c = 0; c < count; c++) values[c * rows + row] = part[c];
  }
  return new Uint8Array(values.buffer);
}

/** Where a block's codes, scales and minima belong among rows of ours (tensor.ts). */
interface Places {
  readonly codes: number;
  readonly scales: number;
  readonly minima: number;
}

/** Writes one block, at `at` of `from`, as codes, scales and minima of ours. */
type TakeBlock = (from: Uint8Array, at: number, into: Uint8Array, to: Places) => void;

function copyHalf(from: Uint8Array, at: number, into: Uint8Array, to: number): void {
  into[to] = from[at];
  into[to + 1] = from[at + 1];
}

function writeHalf(value: number, into: Uint8Array, to: number): void {
  const bits = f32ToF16(value);
  into[to] = bits;
  into[to + 1] = bits >> 8;
}

/**
 * Types whose every element is a code of ours times a scale of ours, plus a minimum of ours where they have
 * one. Q4_K and IQ4_XS have products for scales, which are rounded to f16: to one part in 2048.
 */
const exact: Readonly<Partial<Record<BlockType, { dtype: QuantizedType; take: TakeBlock }>>> = {
  Q4_0: {
    dtype: 'int4',
    take(from, at, into, { codes, scales }) {
      copyHalf(from, at, into, scales);
      into.set(from.subarray(at + 2, at + 18), codes);
    },
  },
  Q4_1: {
    dtype: 'int4z',
    take(from, at, into, { codes, scales, minima }) {
      copyHalf(from, at, into, scales);
      copyHalf(from, at + 2, into, minima);
      into.set(from.subarray(at + 4, at + 20), codes);
    },
  },
  Q4_K: {
    dtype: 'int4z',
    take(from, at, into, { codes, scales, minima }) {
      const [step, least] = [half(from, at), half(from, at + 2)];
      for (let group = 0; group < 8; group++) {
        const [scale, minimum] = scaleAndMinimum(from, at + 4, group);
        writeHalf(step * scale, into, scales + 2 * group);
        writeHalf(-least * minimum, into, minima + 2 * group);
        // Two groups lie in the halves of the same 32 bytes; each of ours in those of 16.
        const shift = 4 * (group & 1);
        const first = at + 16 + 32 * (group >> 1);
        for (let i = 0; i < 16; i++) {
          const [low, high] = [from[first + i] >> shift, from[first + i + 16] >> shift];
          into[codes + 16 * group + i] = (low & 15) | ((high & 15) << 4);
        }
      }
    },
  },
  Q8_0: {
    dtype: 'int8',
    take(from, at, into, { codes, scales }) {
      copyHalf(from, at, into, scales);
      into.set(from.subarray(at + 2, at + 34), codes);
    },
  },
  Q5_0: {
    dtype: 'int8',
    take(from, at, into, { codes, scales }) {
      copyHalf(from, at, into, scales);
      fives(from, at + 6, at + 2, (i, code) => (into[codes + i] = code - 16));
    },
  },
  IQ4_NL: {
    dtype: 'int8',
    take(from, at, into, { codes, scales }) {
      copyHalf(from, at, into, scales);
      halves(from, at + 2, (i, code) => (into[codes + i] = iq4Levels[code]));
    },
  },
  IQ4_XS: {
    dtype: 'int8',
    take(from, at, into, { codes, scales }) {
      const step = half(from, at);
      for (let group = 0; group < 8; group++) {
        writeHalf(step * iq4xsScale(from, at, group), into, scales + 2 * group);
        const first = codes + 32 * group;
        halves(from, at + 8 + 16 * group, (i, code) => (into[first + i] = iq4Levels[code]));
      }
    },
  },
};

import { f16ToF32, f32ToF16 } from '../../float16.ts';
import { byteLength, quantGroup, rowBytes, scaleOffset } from '../../tensor.ts';
import { convertRows, type WeightType } from '../convert.ts';
import { type BlockType, decoders, iq4Levels, iq4xsScale } from './blocks.ts';
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
  const blocks = columns / block;
  const rows = bytes.length / (blocks * blockBytes);
  const stride = rowBytes(to, columns);
  const into = new Uint8Array(byteLength(to, [rows, columns]));
  const codes = (block * scaleOffset(to, columns)) / columns;
  const scales = (2 * block) / quantGroup;
  for (let row = 0, at = 0; row < rows; row++)
    for (let b = 0; b < blocks; b++, at += blockBytes)
      taken.take(
        bytes,
        at,
        into,
        row * stride + b * codes,
        row * stride + scaleOffset(to, columns) + b * scales,
      );
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

/**
 * Writes the codes of one block at `codes` of `into` and its scales at `scales`, as a row of ours has
 * them (tensor.ts).
 */
type TakeBlock = (
  from: Uint8Array,
  at: number,
  into: Uint8Array,
  codes: number,
  scales: number,
) => void;

function copyScale(from: Uint8Array, at: number, into: Uint8Array, scales: number): void {
  into[scales] = from[at];
  into[scales + 1] = from[at + 1];
}

/** Types whose every element is a code of ours times a scale of ours. */
const exact: Readonly<Partial<Record<BlockType, { dtype: 'int8' | 'int4'; take: TakeBlock }>>> = {
  // The very layout of int4: code + 8 in the same halves of bytes.
  Q4_0: {
    dtype: 'int4',
    take(from, at, into, codes, scales) {
      copyScale(from, at, into, scales);
      into.set(from.subarray(at + 2, at + 18), codes);
    },
  },
  Q8_0: {
    dtype: 'int8',
    take(from, at, into, codes, scales) {
      copyScale(from, at, into, scales);
      into.set(from.subarray(at + 2, at + 34), codes);
    },
  },
  Q5_0: {
    dtype: 'int8',
    take(from, at, into, codes, scales) {
      copyScale(from, at, into, scales);
      for (let i = 0; i < 16; i++) {
        const byte = from[at + 6 + i];
        const high = from[at + 2 + (i >> 3)] >> (i & 7);
        const higher = from[at + 4 + (i >> 3)] >> (i & 7);
        into[codes + i] = ((byte & 15) | ((high & 1) << 4)) - 16;
        into[codes + i + 16] = ((byte >> 4) | ((higher & 1) << 4)) - 16;
      }
    },
  },
  IQ4_NL: {
    dtype: 'int8',
    take(from, at, into, codes, scales) {
      copyScale(from, at, into, scales);
      takeLevels(from, at + 2, into, codes);
    },
  },
  // Its scales are products, rounded to f16 here: to one part in 2048.
  IQ4_XS: {
    dtype: 'int8',
    take(from, at, into, codes, scales) {
      const step = f16ToF32[from[at] | (from[at + 1] << 8)];
      for (let group = 0; group < 8; group++) {
        const bits = f32ToF16(step * iq4xsScale(from, at, group));
        into[scales + 2 * group] = bits;
        into[scales + 2 * group + 1] = bits >> 8;
        takeLevels(from, at + 8 + 16 * group, into, codes + 32 * group);
      }
    },
  },
};

function takeLevels(from: Uint8Array, at: number, into: Uint8Array, codes: number): void {
  for (let i = 0; i < 16; i++) {
    into[codes + i] = iq4Levels[from[at + i] & 15];
    into[codes + i + 16] = iq4Levels[from[at + i] >> 4];
  }
}

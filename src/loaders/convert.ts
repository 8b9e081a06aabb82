import { EngineError } from '../errors.ts';
import { f16ToF32, f32ToF16 } from '../float16.ts';
import { hostTensor, rowWriter } from '../rows.ts';
import type { QuantizedType } from '../tensor.ts';

/** Types weights have in files. */
export type FileType = 'f32' | 'f16' | 'bf16';
/** Types weights have in memory. */
export type WeightType = 'f32' | 'f16' | QuantizedType;

/** The f16 bits of every bf16 bit pattern. */
const bf16ToF16 = ((): Uint16Array => {
  const table = new Uint16Array(1 << 16);
  const words = Uint32Array.from(table, (_, bits) => bits << 16);
  new Float32Array(words.buffer).forEach((x, bits) => (table[bits] = f32ToF16(x)));
  return table;
})();

/**
 * Rows of `columns` elements, from one type to another; `bytes` itself where both are the same.
 *
 * Throws `BAD_CHECKPOINT` when f16 cannot hold a number: it would turn every output into NaN, silently.
 */
export function convertRows(
  bytes: Uint8Array<ArrayBuffer>,
  from: FileType,
  to: WeightType,
  columns: number,
  where: string,
): Uint8Array<ArrayBuffer> {
  if (from === to) return bytes;
  if (to === 'f32') return bytesOf(widen(bytes, from));
  if (to === 'f16') {
    const narrowed = from === 'bf16' ? mapped(halves(bytes), bf16ToF16) : narrow(floats(bytes));
    expectFinite(narrowed, where);
    return bytesOf(narrowed);
  }
  const values = widen(bytes, from);
  const encoded = hostTensor(to, [values.length / columns, columns]);
  const write = rowWriter(encoded);
  for (let row = 0; row * columns < values.length; row++)
    write(row, values.subarray(row * columns, (row + 1) * columns));
  return encoded.bytes as Uint8Array<ArrayBuffer>;
}

function expectFinite(bits: Uint16Array, where: string): void {
  let infinite = 0;
  for (let i = 0; i < bits.length; i++) infinite |= ((bits[i] & 0x7fff) + 0x400) & 0x8000;
  if (infinite)
    throw new EngineError(
      'BAD_CHECKPOINT',
      `${where}: holds a number that is not finite as f16; expected at most 65504; use \`weights\` f32`,
    );
}

/** Every element as f32. */
function widen(bytes: Uint8Array<ArrayBuffer>, from: FileType): Float32Array<ArrayBuffer> {
  if (from === 'f32') return floats(bytes);
  const bits = halves(bytes);
  const values = new Float32Array(bits.length);
  if (from === 'f16') {
    const table = f16ToF32;
    for (let i = 0; i < bits.length; i++) values[i] = table[bits[i]];
  } else {
    const words = new Uint32Array(values.buffer);
    for (let i = 0; i < bits.length; i++) words[i] = bits[i] << 16;
  }
  return values;
}

function mapped(bits: Uint16Array, table: Uint16Array): Uint16Array<ArrayBuffer> {
  const result = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) result[i] = table[bits[i]];
  return result;
}

/** f32 bits to f16 bits; those of f16's normal range here, the rest by `f32ToF16`. */
function narrow(values: Float32Array<ArrayBuffer>): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const result = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const magnitude = word & 0x7fffffff;
    result[i] =
      magnitude >= 0x38800000 && magnitude < 0x47800000
        ? ((word >>> 16) & 0x8000) | ((magnitude - 0x37fff001 + ((magnitude >>> 13) & 1)) >>> 13)
        : f32ToF16(values[i]);
  }
  return result;
}

/**
 * Columns `columns` of a row-major matrix of `rows` x `width` elements, each as a row. Elements stay as
 * they are; f32 and 16-bit types differ only in size.
 */
export function takeColumns(
  bytes: Uint8Array<ArrayBuffer>,
  from: FileType,
  { rows, width, columns }: { rows: number; width: number; columns: readonly number[] },
): Uint8Array<ArrayBuffer> {
  const count = columns.length * rows;
  return from === 'f32'
    ? bytesOf(gather(floats(bytes), new Float32Array(count), rows, width, columns))
    : bytesOf(gather(halves(bytes), new Uint16Array(count), rows, width, columns));
}

/** Rows in tiles, so that the lines of `from` that a tile touches stay in the cache. */
const tileRows = 64;

function gather<T extends Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>>(
  from: T,
  into: T,
  rows: number,
  width: number,
  columns: readonly number[],
): T {
  for (let start = 0; start < rows; start += tileRows) {
    const end = Math.min(start + tileRows, rows);
    for (let c = 0; c < columns.length; c++) {
      const column = columns[c];
      const row = c * rows;
      for (let r = start; r < end; r++) into[row + r] = from[r * width + column];
    }
  }
  return into;
}

const floats = (bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> =>
  new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
const halves = (bytes: Uint8Array<ArrayBuffer>): Uint16Array<ArrayBuffer> =>
  new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
const bytesOf = (
  view: Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

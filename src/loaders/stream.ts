import type { FileMatrix } from '../backend.ts';
import type { WeightSpec } from '../model.ts';
import { chunkBytes } from './weights.ts';
import { convertRows, type FileType, takeColumns, type WeightType } from './convert.ts';
import type { Entry } from './entry.ts';
import { convertBlocks, decodeColumns, type Quantized, quantizedType } from './gguf/rows.ts';
import { streamPacked } from './packed/rows.ts';

const fileTypes: Readonly<Record<string, FileType>> = { F32: 'f32', F16: 'f16', BF16: 'bf16' };

/** Types of files that are no blocks of codes, by their names there. */
export const plainTypes = Object.keys(fileTypes);

/** The type of a name; undefined for blocks and for what is not read. */
export const fileType = (type: string): FileType | undefined =>
  Object.hasOwn(fileTypes, type) ? fileTypes[type] : undefined;

/** Whether the file has the transpose of what the engine wants. */
export const isTurned = (
  { transposed: ours = false }: WeightSpec,
  { transposed = false }: Entry,
): boolean => ours !== transposed;

/** Takes rows of a matrix, in its type in memory, from row `first` on. */
export type TakeRows = (first: number, bytes: Uint8Array<ArrayBuffer>) => void;

/** A vector of the file, as f32. */
export async function readVector(
  spec: WeightSpec,
  entry: Entry,
): Promise<Float32Array<ArrayBuffer>> {
  const { type, offset, bytes, shape, source } = entry;
  const place = placeOf(spec, entry);
  const stored = await source.read(offset, bytes);
  const all = convertRows(
    stored,
    fileType(type)!,
    'f32',
    shape[0],
    `${source.name}, ${entry.name}`,
  );
  const values = new Float32Array(all.buffer, all.byteOffset, shape[0]);
  return Float32Array.from({ length: spec.shape[0] }, (_, i) => values[place(i)]);
}

/** Stream a matrix of the file, as `spec` has it, in a type of ours. */
export async function streamMatrix(
  spec: WeightSpec,
  entry: Entry,
  dtype: WeightType,
  take: TakeRows,
): Promise<void> {
  const { type, offset, bytes, shape, source, packed } = entry;
  if (packed) {
    await streamPacked(spec, { ...entry, packed }, dtype, take);
    return;
  }
  const where = `${source.name}, ${entry.name}`;
  const [rows = 0, columns = 1] = spec.shape;
  const place = placeOf(spec, entry);
  const plain = fileType(type);
  if (isTurned(spec, entry)) {
    const whole = await source.read(offset, bytes);
    const quantized = quantizedType(type);
    const parts = quantized
      ? blockColumns(whole, quantized, { rows, columns, width: shape[1], place })
      : plainColumns(whole, plain!, { rows, columns, width: shape[1], place });
    const from = plain ?? 'f32';
    for (const { first, taken } of parts)
      take(first, convertRows(taken, from, dtype, columns, where));
    return;
  }
  const convert = plain
    ? (read: Uint8Array<ArrayBuffer>) => convertRows(read, plain, dtype, columns, where)
    : (read: Uint8Array<ArrayBuffer>) =>
        convertBlocks(read, quantizedType(type)!, columns, dtype, where);
  const fileRow = bytes / shape[0];
  const chunkRows = Math.max(1, Math.floor(chunkBytes / fileRow));
  for (const { first, at, count } of runs(rows, place, chunkRows))
    take(first, convert(await source.read(offset + at * fileRow, count * fileRow)));
}

/**
 * A matrix where it lies, for a backend that converts by itself; undefined where it is no file of this machine,
 * or several tensors.
 */
export function fileMatrix(spec: WeightSpec, entry: Entry): FileMatrix | undefined {
  const { type, offset, shape, source, packed } = entry;
  const [rows = 0, columns = 0] = shape;
  if (source.path === undefined || packed || shape.length !== 2) return undefined;
  const place = placeOf(spec, entry);
  return {
    ...{ path: source.path, offset, type, shape: [rows, columns] },
    turned: isTurned(spec, entry),
    places: Int32Array.from({ length: spec.shape[0] }, (_, row) => place(row)),
  };
}

/** Where the file has each of our rows (of its transpose, where that is what it stores). */
function placeOf({ part }: WeightSpec, { row: stored }: Entry): (row: number) => number {
  const ours = part?.row ?? ((row: number) => row);
  return stored ? (row) => stored(ours(row)) : ours;
}

/** A matrix of ours [rows, columns] and the file's transpose of it, [columns, width]. */
interface Transpose {
  readonly rows: number;
  readonly columns: number;
  readonly width: number;
  /** The file's column for a row of ours. */
  readonly place: (row: number) => number;
}

/** Rows of ours from `first` on, gathered from columns of the file. */
interface Gathered {
  readonly first: number;
  readonly taken: Uint8Array<ArrayBuffer>;
}

function* plainColumns(
  whole: Uint8Array<ArrayBuffer>,
  from: FileType,
  { rows, columns, width, place }: Transpose,
): Generator<Gathered> {
  const chunkRows = Math.max(1, Math.floor((chunkBytes * rows) / whole.length));
  for (let first = 0; first < rows; first += chunkRows) {
    const count = Math.min(chunkRows, rows - first);
    const wanted = Array.from({ length: count }, (_, i) => place(first + i));
    yield { first, taken: takeColumns(whole, from, { rows: columns, width, columns: wanted }) };
  }
}

/** The same of a quantized type, as f32: one band of whole blocks after another is decoded. */
function* blockColumns(
  whole: Uint8Array<ArrayBuffer>,
  quantized: Quantized,
  { rows, columns, width, place }: Transpose,
): Generator<Gathered> {
  const { block } = quantized;
  const bandBlocks = Math.max(1, Math.floor(chunkBytes / (4 * columns * block)));
  const rowOf = new Map(Array.from({ length: rows }, (_, row) => [place(row), row]));
  for (let start = 0; start < width; start += bandBlocks * block) {
    const count = Math.min(bandBlocks * block, width - start);
    const shape = { rows: columns, width, first: start, count };
    const band = decodeColumns(whole, quantized, shape);
    for (let c = 0; c < count;) {
      const first = rowOf.get(start + c);
      let run = 1;
      while (first !== undefined && c + run < count && rowOf.get(start + c + run) === first + run)
        run++;
      if (first !== undefined)
        yield { first, taken: band.slice(4 * columns * c, 4 * columns * (c + run)) };
      c += run;
    }
  }
}

/** Rows `first` … that lie one after another in the file, from row `at` on; at most `most` of them. */
function* runs(
  rows: number,
  place: (row: number) => number,
  most: number,
): Generator<{ first: number; at: number; count: number }> {
  for (let first = 0; first < rows;) {
    const at = place(first);
    let count = 1;
    while (count < most && first + count < rows && place(first + count) === at + count) count++;
    yield { first, at, count };
    first += count;
  }
}

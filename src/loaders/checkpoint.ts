import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import type { Description, Family, Weights, WeightSpec } from '../model.ts';
import type { ModelFiles } from '../source.ts';
import { productWith } from '../models/parts/product.ts';
import { byteLength, size } from '../tensor.ts';
import { convertRows, type FileType, takeColumns, type WeightType } from './convert.ts';
import type { Entry, TensorFiles } from './entry.ts';
import {
  convertBlocks,
  decodeColumns,
  type Quantized,
  quantizedType,
  quantizedTypes,
} from './gguf/rows.ts';
import { whereIs } from './names.ts';
import { openCheckpoint } from './open.ts';
import { chooseRowType, findRows, loadRows, readAbout } from './quantized.ts';
import { chunkBytes, expectFit, plannedBytes, StoredWeights } from './weights.ts';

export interface LoadOptions {
  /**
   * Type of matrices in memory. `auto`, the default, keeps each as it is: f32; 16-bit types as f16 where
   * the backend reads f16 fast, else as f32; GGUF's quantized types as the type of ours that holds the
   * same, int8 where none does. A folder that `quantize` wrote is kept, or decoded to f32 or f16.
   */
  readonly weights?: 'auto' | WeightType;
  /** Refuse a model whose weights take more. Default: no limit. */
  readonly memoryLimit?: number;
  /** Called once all is found and checked, before anything is allocated; what it throws ends the loading. */
  readonly expect?: (description: Description, weightBytes: number) => void;
}

/** A model ready to run. Release it when no program that uses it will run again. */
export interface Checkpoint {
  readonly family: Family;
  /** What `family.config` made of config.json. */
  readonly config: unknown;
  readonly description: Description;
  readonly weights: Weights;
  /** In memory, all together. */
  readonly weightBytes: number;
  /** Type of matrices in memory; where they are mixed, that of most. */
  readonly dtype: WeightType;
  release(): void;
}

/**
 * Load a Hugging Face checkpoint folder (config.json and safetensors), one that `quantize` wrote, or a GGUF
 * file into a backend's memory.
 *
 * Everything is checked before anything is allocated: `FILE_NOT_FOUND`, `BAD_CONFIG`,
 * `UNKNOWN_FAMILY`, `BAD_CHECKPOINT`, `MISSING_TENSOR`, `BAD_SHAPE`, `OUT_OF_MEMORY`.
 */
export async function loadCheckpoint(
  model: ModelFiles,
  backend: Backend,
  options: LoadOptions = {},
): Promise<Checkpoint> {
  await using opened = await openCheckpoint(model);
  const where = whereIs(model);
  const { family, config, json, files } = opened;
  const planned = planLoad(where, json, family.weights(config), files, options, backend);
  const { dtype, weightBytes } = planned;
  expectFit(where, weightBytes, options.memoryLimit);
  options.expect?.(family.describe(config), weightBytes);

  const weights = new StoredWeights(
    backend,
    dtype,
    Object.keys(family.weights(config)),
    family.constants(config),
  );
  try {
    await planned.load(weights);
  } catch (error) {
    weights.release();
    throw error;
  }
  return checkpointOf(family, config, weights, weightBytes, dtype);
}

/** A model whose weights are all in memory. */
export const checkpointOf = (
  family: Family,
  config: unknown,
  weights: StoredWeights,
  weightBytes: number,
  dtype: WeightType,
): Checkpoint => ({
  family,
  config,
  description: family.describe(config),
  weights,
  weightBytes,
  dtype,
  release: () => weights.release(),
});

/** What will be loaded, all of it found and checked. */
interface PlannedLoad {
  readonly dtype: WeightType;
  readonly weightBytes: number;
  load(weights: StoredWeights): Promise<void>;
}

function planLoad(
  where: string,
  json: unknown,
  specs: Readonly<Record<string, WeightSpec>>,
  files: TensorFiles,
  { weights: choice = 'auto' }: LoadOptions,
  backend: Backend,
): PlannedLoad {
  const about = readAbout(where, json, files.metadata);
  if (about) {
    const found = findRows(where, specs, files, about);
    const as = chooseRowType(where, choice, about, found, backend);
    return {
      dtype: as ?? about.dtype,
      weightBytes: [...found.values()].reduce(
        (sum, { spec, bytes }) => sum + (as ? plannedBytes([spec], as) : bytes),
        0,
      ),
      load: async (weights) => {
        for (const [name, rows] of found) await loadRows(weights, name, rows, as);
      },
    };
  }
  const found = findWeights(where, specs, files);
  const types = chooseTypes(choice, found, backend);
  return {
    dtype: typeOfMost(found, types),
    weightBytes: [...found].reduce(
      (sum, [name, { spec }]) => sum + byteLength(types.get(name)!, spec.shape),
      0,
    ),
    load: async (weights) => {
      for (const [name, { spec, entry }] of found)
        await load(weights, name, spec, entry, types.get(name)!);
    },
  };
}

/** Every weight of a checkpoint as its files have it, quantized or not. */
export function storedWeights(
  where: string,
  json: unknown,
  specs: Readonly<Record<string, WeightSpec>>,
  files: TensorFiles,
): ReadonlyMap<string, Pick<Found, 'spec' | 'bytes'>> {
  const about = readAbout(where, json, files.metadata);
  return about ? findRows(where, specs, files, about) : findWeights(where, specs, files);
}

interface Found {
  readonly spec: WeightSpec;
  readonly entry: Entry;
  /** In the file: of the entry, only what is this weight's. */
  readonly bytes: number;
}

/** Find every weight in the files and check its type and shape. */
function findWeights(
  where: string,
  specs: Readonly<Record<string, WeightSpec>>,
  files: TensorFiles,
): Map<string, Found> {
  const found = new Map<string, Found>();
  for (const [name, spec] of Object.entries(specs)) {
    const names = typeof spec.from === 'string' ? [spec.from] : spec.from;
    const entry = names.map((from) => files.entries.get(from)).find((e) => e !== undefined);
    if (entry) {
      expectStored(spec, entry);
      const bytes = (size(spec.shape) * entry.bytes) / size(entry.shape);
      found.set(name, { spec, entry, bytes });
    } else if (!spec.optional)
      throw new EngineError(
        'MISSING_TENSOR',
        `${where}: none of its ${files.entries.size} tensors is ${names.join(' or ')}; expected all weights its config.json asks for; check that both belong together`,
      );
  }
  return found;
}

/** Shape of a weight in the file. */
function fileShape({ shape, part, transposed }: WeightSpec, entry: Entry): number[] {
  const [first = 0, ...rest] = shape;
  const stored = [part?.rows ?? first, ...rest];
  return differs(transposed, entry.transposed) ? stored.reverse() : stored;
}

const differs = (a = false, b = false): boolean => a !== b;

function expectStored(spec: WeightSpec, entry: Entry): void {
  const { name, type, shape, source } = entry;
  const expected = fileShape(spec, entry);
  const read = fileType(type) ?? (spec.kind === 'matrix' ? quantizedType(type) : undefined);
  if (read && shape.length === expected.length && shape.every((n, i) => n === expected[i])) return;
  const types = [...Object.keys(fileTypes), ...(spec.kind === 'matrix' ? quantizedTypes : [])];
  throw new EngineError(
    'BAD_SHAPE',
    `${source.name}, ${name}: is ${type} [${shape}]; expected ${types.join(', ')} [${expected}]; check that config.json belongs to these weights, or choose a file of other types`,
  );
}

const fileTypes: Readonly<Record<string, FileType>> = { F32: 'f32', F16: 'f16', BF16: 'bf16' };

const fileType = (type: string): FileType | undefined =>
  Object.hasOwn(fileTypes, type) ? fileTypes[type] : undefined;

/** The type of each weight in memory, by name. */
function chooseTypes(
  choice: 'auto' | WeightType,
  found: ReadonlyMap<string, Found>,
  backend: Backend,
): Map<string, WeightType> {
  const takes = (type: WeightType): boolean => backend.refuses(productWith(type)) === undefined;
  const reason = choice === 'auto' ? undefined : backend.refuses(productWith(choice));
  if (reason !== undefined)
    throw new EngineError(
      'BAD_REQUEST',
      `\`weights\`: the ${backend.name} backend does not compute with ${choice} (${reason}); expected a type it takes; use \`weights\` f32`,
    );
  const narrow = backend.info.fastF16 && takes('f16') ? 'f16' : 'f32';
  const kept = (spec: WeightSpec, entry: Entry): WeightType => {
    const quantized = quantizedType(entry.type);
    if (!quantized) return entry.type === 'F32' ? 'f32' : narrow;
    const type = differs(spec.transposed, entry.transposed) ? 'int8' : quantized.keeps;
    return takes(type) ? type : narrow;
  };
  return new Map(
    [...found].map(([name, { spec, entry }]) => {
      if (spec.kind === 'vector') return [name, 'f32'];
      return [name, choice === 'auto' ? kept(spec, entry) : choice];
    }),
  );
}

/** The type that most elements of matrices have. */
function typeOfMost(
  found: ReadonlyMap<string, Found>,
  types: ReadonlyMap<string, WeightType>,
): WeightType {
  const elements = new Map<WeightType, number>();
  for (const [name, { spec }] of found) {
    if (spec.kind === 'vector') continue;
    const type = types.get(name)!;
    elements.set(type, (elements.get(type) ?? 0) + size(spec.shape));
  }
  return [...elements].reduce((most, next) => (next[1] > most[1] ? next : most))[0];
}

/** Stream one weight into memory. */
async function load(
  weights: StoredWeights,
  name: string,
  spec: WeightSpec,
  entry: Entry,
  dtype: WeightType,
): Promise<void> {
  const { type, offset, bytes, shape, source } = entry;
  const where = `${source.name}, ${entry.name}`;
  const [rows = 0, columns = 1] = spec.shape;
  const place = placeOf(spec, entry);
  weights.add(name, spec, dtype);

  if (spec.kind === 'vector') {
    const stored = await source.read(offset, bytes);
    const all = convertRows(stored, fileType(type)!, 'f32', shape[0], where);
    const values = new Float32Array(all.buffer, all.byteOffset, shape[0]);
    weights.writeVector(
      name,
      Float32Array.from({ length: rows }, (_, i) => values[place(i)]),
    );
    return;
  }

  const plain = fileType(type);
  const convert = plain
    ? (read: Uint8Array<ArrayBuffer>) => convertRows(read, plain, dtype, columns, where)
    : (read: Uint8Array<ArrayBuffer>) =>
        convertBlocks(read, quantizedType(type)!, columns, dtype, where);
  if (differs(spec.transposed, entry.transposed)) {
    const whole = await source.read(offset, bytes);
    const quantized = quantizedType(type);
    const parts = quantized
      ? blockColumns(whole, quantized, { rows, columns, width: shape[1], place })
      : plainColumns(whole, plain!, { rows, columns, width: shape[1], place });
    const from = plain ?? 'f32';
    for (const { first, taken } of parts)
      weights.writeRows(name, first, convertRows(taken, from, dtype, columns, where));
    return;
  }
  const fileRow = bytes / shape[0];
  const chunkRows = Math.max(1, Math.floor(chunkBytes / fileRow));
  for (const { first, at, count } of runs(rows, place, chunkRows))
    weights.writeRows(
      name,
      first,
      convert(await source.read(offset + at * fileRow, count * fileRow)),
    );
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

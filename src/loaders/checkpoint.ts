import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import type { Description, Family, Weights, WeightSpec } from '../model.ts';
import { familyOf } from '../models/index.ts';
import type { Folder } from '../source.ts';
import { size } from '../tensor.ts';
import { convertRows, type FileType, takeColumns, type WeightType } from './convert.ts';
import { openFolder, sha256 } from './fs.ts';
import { readJsonFile } from './json.ts';
import { chooseRowType, familyConfig, findRows, loadRows, readAbout } from './quantized.ts';
import { dtypeOf, type Entry, openTensors, type TensorFiles, weightFiles } from './safetensors.ts';
import { chunkBytes, expectFit, plannedBytes, StoredWeights } from './weights.ts';

export interface LoadOptions {
  /**
   * Type of matrices in memory. `auto`, the default, keeps f32, and 16-bit types as f16 where the
   * backend reads f16 fast, else as f32. A quantized folder is kept as it is, or decoded to f32 or f16.
   */
  readonly weights?: 'auto' | WeightType;
  /** Refuse a model whose weights take more. Default: no limit. */
  readonly memoryLimit?: number;
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
  /** Type of matrices in memory; of a quantized folder, which mixes them, that of most. */
  readonly dtype: WeightType;
  release(): void;
}

/**
 * Load a Hugging Face checkpoint folder (config.json and safetensors), or one that `quantize` wrote,
 * into a backend's memory.
 *
 * Everything is checked before anything is allocated: `FILE_NOT_FOUND`, `BAD_CONFIG`,
 * `UNKNOWN_FAMILY`, `BAD_CHECKPOINT`, `MISSING_TENSOR`, `BAD_SHAPE`, `OUT_OF_MEMORY`.
 */
export async function loadCheckpoint(
  path: string,
  backend: Backend,
  options: LoadOptions = {},
): Promise<Checkpoint> {
  const folder = await openFolder(path);
  const json = await readJsonFile(folder, 'config.json', 'BAD_CONFIG');
  const family = familyOf(json, `${path}/config.json`);
  const config = family.config(familyConfig(json));
  await using files = await openTensors(folder);
  const planned = planLoad(path, json, family.weights(config), files, options, backend);
  const { dtype, weightBytes } = planned;
  expectFit(path, weightBytes, options.memoryLimit);

  const weights = new StoredWeights(backend, dtype, family.constants(config));
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
  const dtype = chooseType(choice, found.values(), backend);
  return {
    dtype,
    weightBytes: plannedBytes(
      [...found.values()].map(({ spec }) => spec),
      dtype,
    ),
    load: async (weights) => {
      for (const [name, { spec, entry }] of found) await load(weights, name, spec, entry, dtype);
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

/** Whether this hash is of the checkpoint in this folder, or of the one it was quantized from. */
export async function isCheckpoint(path: string, hash: string): Promise<boolean> {
  const folder = await openFolder(path);
  const json = await readJsonFile(folder, 'config.json', 'BAD_CONFIG');
  await using files = await openTensors(folder);
  return (
    readAbout(path, json, files.metadata)?.source === hash || (await hashCheckpoint(path)) === hash
  );
}

/** SHA-256 of a checkpoint's configuration and weight files: what a predictor was made for. */
export async function hashCheckpoint(path: string): Promise<string> {
  const folder = await openFolder(path);
  const { files } = await weightFiles(folder);
  return await sha256(contents(folder, ['config.json', ...files]));
}

async function* contents(folder: Folder, files: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const file of files) {
    await using source = await folder.open(file);
    yield new TextEncoder().encode(`${file} ${source.size}\n`);
    for (let at = 0; at < source.size; at += chunkBytes)
      yield await source.read(at, Math.min(chunkBytes, source.size - at));
  }
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
function fileShape({ shape, part, transposed }: WeightSpec): number[] {
  const [first = 0, ...rest] = shape;
  const stored = [part?.rows ?? first, ...rest];
  return transposed ? stored.reverse() : stored;
}

function expectStored(spec: WeightSpec, { name, type, shape, source }: Entry): void {
  const expected = fileShape(spec);
  if (
    fileType(type) &&
    shape.length === expected.length &&
    shape.every((n, i) => n === expected[i])
  )
    return;
  throw new EngineError(
    'BAD_SHAPE',
    `${source.name}, ${name}: is ${type} [${shape}]; expected F32, F16 or BF16 [${expected}]; check that config.json belongs to these weights`,
  );
}

function fileType(type: Entry['type']): FileType | undefined {
  const dtype = dtypeOf[type];
  return dtype === 'f32' || dtype === 'f16' || dtype === 'bf16' ? dtype : undefined;
}

function chooseType(
  choice: 'auto' | WeightType,
  found: Iterable<Found>,
  backend: Backend,
): WeightType {
  if (choice !== 'auto') {
    const reason = backend.refuses('linear', choice);
    if (reason === undefined) return choice;
    throw new EngineError(
      'BAD_REQUEST',
      `--weights: the ${backend.name} backend does not compute with ${choice} (${reason}); expected a type it takes; use --weights f32`,
    );
  }
  const wide = [...found].some(({ spec, entry }) => spec.kind === 'matrix' && entry.type === 'F32');
  return !wide && backend.info.fastF16 && !backend.refuses('linear', 'f16') ? 'f16' : 'f32';
}

/** Stream one weight into memory. */
async function load(
  weights: StoredWeights,
  name: string,
  spec: WeightSpec,
  { name: stored, type, offset, bytes, shape, source }: Entry,
  dtype: WeightType,
): Promise<void> {
  const from = fileType(type)!;
  const where = `${source.name}, ${stored}`;
  const [rows = 0, columns = 1] = spec.shape;
  const place = spec.part?.row ?? ((row: number) => row);
  weights.add(name, spec);

  if (spec.kind === 'vector') {
    const all = convertRows(await source.read(offset, bytes), from, 'f32', shape[0], where);
    const values = new Float32Array(all.buffer, all.byteOffset, shape[0]);
    weights.writeVector(
      name,
      Float32Array.from({ length: rows }, (_, i) => values[place(i)]),
    );
    return;
  }

  const fileRow = bytes / (spec.part?.rows ?? rows);
  const chunkRows = Math.max(1, Math.floor(chunkBytes / fileRow));
  if (spec.transposed) {
    const whole = await source.read(offset, bytes);
    const width = shape[1];
    for (let first = 0; first < rows; first += chunkRows) {
      const count = Math.min(chunkRows, rows - first);
      const wanted = Array.from({ length: count }, (_, i) => place(first + i));
      const taken = takeColumns(whole, from, { rows: columns, width, columns: wanted });
      weights.writeRows(name, first, convertRows(taken, from, dtype, columns, where));
    }
    return;
  }
  for (const { first, at, count } of runs(rows, place, chunkRows)) {
    const read = await source.read(offset + at * fileRow, count * fileRow);
    weights.writeRows(name, first, convertRows(read, from, dtype, columns, where));
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

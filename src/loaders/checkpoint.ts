import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import type { Description, Family, Weights, WeightSpec } from '../model.ts';
import type { ModelFiles } from '../source.ts';
import { productWith } from '../models/parts/product.ts';
import type { Matrix } from '../selector.ts';
import { byteLength, isQuantized, size } from '../tensor.ts';
import type { WeightType } from './convert.ts';
import type { Entry, TensorFiles } from './entry.ts';
import { type GenerationDefaults, noDefaults } from './generation.ts';
import { quantizedType, quantizedTypes } from './gguf/rows.ts';
import { laidByInputs, loadByInputs } from './layout.ts';
import { whereIs } from './names.ts';
import { openCheckpoint } from './open.ts';
import { describeKeeping, type Keeping, keepingOf } from './packed/keeping.ts';
import { keptAs } from './packed/matrix.ts';
import { chooseRowType, findRows, loadRows, readAbout, streamRows } from './quantized.ts';
import { fileMatrix, fileType, isTurned, plainTypes, readVector, streamMatrix } from './stream.ts';
import { expectFit, plannedBytes, StoredWeights } from './weights.ts';

export interface LoadOptions {
  /**
   * Type of matrices in memory. `auto`, the default, keeps each as it is: f32; 16-bit types as f16 where
   * the backend reads f16 fast, else as f32; GGUF's quantized types as the type of ours that holds the
   * same, int8 where none does; GPTQ, AWQ and compressed-tensors too, of which `onNote` says what is rounded
   * anew. A folder that `quantize` wrote is kept, or decoded to f32 or f16.
   */
  readonly weights?: 'auto' | WeightType;
  /**
   * Matrices to lay out one row an input, for methods that select inputs; `oProj` and `downProj` always are.
   * Their quantized rows are rounded anew from the file's values: `auto` takes int8 for them. Default: none.
   */
  readonly byInputs?: readonly Matrix[];
  /** Refuse a model whose weights take more. Default: no limit. */
  readonly memoryLimit?: number;
  /** Called once all is found and checked, before anything is allocated; what it throws ends the loading. */
  readonly expect?: (description: Description, weightBytes: number) => void;
  /** Called with how the matrices of a packed checkpoint are kept, where not all keep their codes. */
  readonly onNote?: (note: string) => void;
}

/** A model ready to run. Release it when no program that uses it will run again. */
export interface Checkpoint {
  /** How it computes. */
  readonly family: Family;
  /** What `family.config` made of config.json. */
  readonly config: unknown;
  /** Its sizes. */
  readonly description: Description;
  /** How its texts are generated where nothing else is asked for. */
  readonly defaults: GenerationDefaults;
  /** Its weights and constants, by the engine's names. */
  readonly weights: Weights;
  /** In memory, all together. */
  readonly weightBytes: number;
  /** Type of matrices in memory; where they are mixed, that of most. */
  readonly dtype: WeightType;
  /** Give its memory back. */
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
  const { family, config, description, defaults, json, files, packing } = opened;
  const planned = planLoad(where, json, family.weights(config), files, options, backend);
  const { dtype, weightBytes } = planned;
  expectFit(where, weightBytes, options.memoryLimit);
  options.expect?.(description, weightBytes);
  if (packing && planned.keeping.some(({ because }) => because !== undefined))
    options.onNote?.(describeKeeping(packing, planned.keeping));

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
  return { ...checkpointOf(family, config, weights, weightBytes, dtype), description, defaults };
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
  defaults: noDefaults,
  weights,
  weightBytes,
  dtype,
  release: () => weights.release(),
});

/** What will be loaded, all of it found and checked. */
interface PlannedLoad {
  readonly dtype: WeightType;
  readonly weightBytes: number;
  /** Of packed matrices. */
  readonly keeping: readonly Keeping[];
  load(weights: StoredWeights): Promise<void>;
}

function planLoad(
  where: string,
  json: unknown,
  specs: Readonly<Record<string, WeightSpec>>,
  files: TensorFiles,
  { weights: choice = 'auto', byInputs = [] }: LoadOptions,
  backend: Backend,
): PlannedLoad {
  const about = readAbout(where, json, files.metadata);
  const laid = laidByInputs(specs, byInputs);
  if (about) {
    const found = findRows(where, specs, files, about);
    const as = chooseRowType(where, choice, about, found, backend);
    // Rows by inputs are rounded anew: to more bits, unless some are asked for.
    const laidType = (dtype: WeightType): WeightType =>
      as ?? (choice === 'auto' && isQuantized(dtype) ? 'int8' : dtype);
    return {
      dtype: as ?? about.dtype,
      keeping: [],
      weightBytes: [...found].reduce((sum, [name, { spec, dtype, bytes }]) => {
        const turned = laid.get(name);
        if (turned) return sum + plannedBytes([turned], laidType(dtype));
        return sum + (as ? plannedBytes([spec], as) : bytes);
      }, 0),
      load: async (weights) => {
        for (const [name, rows] of found) {
          const turned = laid.get(name);
          if (turned)
            await loadByInputs(weights, name, turned, laidType(rows.dtype), (take) =>
              streamRows(name, rows, 'f32', take),
            );
          else await loadRows(weights, name, rows, as);
        }
      },
    };
  }
  const found = findWeights(where, specs, files);
  const types = chooseTypes(choice, found, laid, backend);
  return {
    dtype: typeOfMost(found, types),
    keeping: keepingOf(
      found,
      (name) => types.get(name)!,
      (name) => laid.has(name),
    ),
    weightBytes: [...found].reduce(
      (sum, [name, { spec }]) => sum + byteLength(types.get(name)!, (laid.get(name) ?? spec).shape),
      0,
    ),
    load: async (weights) => {
      for (const [name, { spec, entry }] of found) {
        const dtype = types.get(name)!;
        const turned = laid.get(name);
        if (turned)
          await loadByInputs(weights, name, turned, dtype, (take) =>
            streamMatrix(spec, entry, 'f32', take),
          );
        else await load(weights, name, spec, entry, dtype);
      }
    },
  };
}

/** Stream one weight into memory. */
async function load(
  weights: StoredWeights,
  name: string,
  spec: WeightSpec,
  entry: Entry,
  dtype: WeightType,
): Promise<void> {
  weights.add(name, spec, dtype);
  if (spec.kind === 'vector') weights.writeVector(name, await readVector(spec, entry));
  else if (!(await weights.convert(name, fileMatrix(spec, entry))))
    await streamMatrix(spec, entry, dtype, (first, bytes) => weights.writeRows(name, first, bytes));
}

/** Every weight of a checkpoint as its files have it, quantized or not. */
export function storedWeights(
  where: string,
  json: unknown,
  specs: Readonly<Record<string, WeightSpec>>,
  files: TensorFiles,
): ReadonlyMap<string, Pick<Found, 'spec' | 'bytes' | 'entry'>> {
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

/** Shape of a weight in the file; of a packed one, which knows its outputs, [outputs, inputs]. */
function fileShape(spec: WeightSpec, entry: Entry): number[] {
  const { shape, part, byInputs } = spec;
  const [first = 0, ...rest] = shape;
  const stored = [part?.rows ?? first, ...rest];
  if (entry.packed) return byInputs ? stored.reverse() : stored;
  return isTurned(spec, entry) ? stored.reverse() : stored;
}

function expectStored(spec: WeightSpec, entry: Entry): void {
  const { name, type, shape, source, packed } = entry;
  const expected = fileShape(spec, entry);
  const coded = spec.kind === 'matrix' && (packed !== undefined || quantizedType(type));
  const read = fileType(type) ?? coded;
  if (read && shape.length === expected.length && shape.every((n, i) => n === expected[i])) return;
  const types = [...plainTypes, ...(spec.kind === 'matrix' ? quantizedTypes : [])];
  throw new EngineError(
    'BAD_SHAPE',
    `${source.name}, ${name}: is ${type} [${shape}]; expected ${types.join(', ')} [${expected}]; check that config.json belongs to these weights, or choose a file of other types`,
  );
}

/** The type of each weight in memory, by name. */
function chooseTypes(
  choice: 'auto' | WeightType,
  found: ReadonlyMap<string, Found>,
  laid: ReadonlyMap<string, WeightSpec>,
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
  const kept = (name: string, spec: WeightSpec, entry: Entry): WeightType => {
    if (entry.packed) {
      const type = laid.has(name) ? 'int8' : keptAs(spec, entry.packed).dtype;
      return takes(type) ? type : narrow;
    }
    const quantized = quantizedType(entry.type);
    if (!quantized) return entry.type === 'F32' ? 'f32' : narrow;
    const type = isTurned(spec, entry) || laid.has(name) ? 'int8' : quantized.keeps;
    return takes(type) ? type : narrow;
  };
  return new Map(
    [...found].map(([name, { spec, entry }]) => {
      if (spec.kind === 'vector') return [name, 'f32'];
      return [name, choice === 'auto' ? kept(name, spec, entry) : choice];
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

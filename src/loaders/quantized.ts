import * as z from 'zod/mini';
import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import { rowReader } from '../rows.ts';
import { productWith } from '../models/parts/product.ts';
import type { WeightSpec } from '../model.ts';
import type { HostTensor } from '../op.ts';
import { checked } from '../schema.ts';
import {
  byteLength,
  formatOf,
  isQuantized,
  modelTypes,
  type QuantizedType,
  rowBytes,
  size,
} from '../tensor.ts';
import { convertRows, type WeightType } from './convert.ts';
import type { Entry, TensorFiles } from './entry.ts';
import { encodeHeader, type StoredType } from './safetensors.ts';
import { chunkBytes, rowSquares, type StoredWeights } from './weights.ts';

/**
 * A quantized checkpoint: a folder like any other whose `model.safetensors` holds weights as the engine
 * keeps them in memory, by the engine's own names.
 *
 * Quantized rows (tensor.ts, codes and scales) are U8 [rows, bytes of a row], the rest F32 or F16. Every
 * tensor begins at a multiple of 64, with U8 tensors `NAME.padding` in between, so that it can be used
 * where the file is mapped. `NAME.squares` F64 [rows] are the sums of squares of decoded rows that norms
 * are made of. Metadata names format, version, the bits, group and zero point of most matrices, method,
 * the hash of the checkpoint it was made from, and the type of each weight.
 */
export const formatName = 'dejavu-weights';
export const formatVersion = '1';
const alignment = 64;

/** What a quantized checkpoint says of itself. */
export interface About {
  /** Of most matrices. */
  readonly dtype: QuantizedType;
  readonly method: string;
  /** `hashCheckpoint` of what it was made from. */
  readonly source: string;
  /** By name of the weight. */
  readonly dtypes: ReadonlyMap<string, WeightType>;
}

/** What config.json says under `quantization_config`. */
export function quantizationConfig({ dtype, method }: Pick<About, 'dtype' | 'method'>) {
  const { bits, group, minima } = formatOf(dtype);
  return {
    quant_method: 'dejavu',
    format: formatName,
    version: formatVersion,
    bits,
    group_size: group,
    zero_point: minima,
    method,
  };
}

const config = z.looseObject({
  quantization_config: z.looseObject({ quant_method: z.literal('dejavu') }),
});
const types = z.record(z.string(), z.enum(['f32', 'f16', ...modelTypes]));

/** A config.json without what `quantizationConfig` adds to it: what families read. */
export function familyConfig(json: unknown): unknown {
  const found = config.safeParse(json);
  if (!found.success) return json;
  const { quantization_config, ...rest } = found.data;
  return rest;
}

/**
 * What a checkpoint says of its quantization; undefined where it is not quantized. Throws
 * `BAD_CHECKPOINT` where config.json and weights do not agree.
 */
export function readAbout(
  where: string,
  json: unknown,
  metadata: Readonly<Record<string, string>>,
): About | undefined {
  const says = config.safeParse(json).success;
  const ours = metadata.format === formatName;
  if (!says && !ours) return undefined;
  if (!says || !ours)
    throw failure(where)(
      `only its ${says ? 'config.json says' : 'weights say'} that it is quantized`,
      'config.json and weights of one folder',
    );
  const fail = failure(`${where}/model.safetensors, metadata`);
  const { version, method, source } = metadata;
  if (version !== formatVersion)
    throw fail(`version is ${version ?? 'absent'}`, `${formatVersion}, the one this build reads`);
  const dtype = describedType(metadata);
  if (!dtype)
    throw fail(
      `bits is ${metadata.bits}, group ${metadata.group}, zero_point ${metadata.zero_point}`,
      'a format this build reads',
    );
  if (method === undefined || source === undefined || !/^[0-9a-f]{64}$/.test(source))
    throw fail(`method is ${method}, source ${source}`, 'a name and a SHA-256');
  let dtypes: ReturnType<typeof checked<typeof types>>;
  try {
    dtypes = checked(types, JSON.parse(metadata.dtypes ?? ''));
  } catch {
    throw fail('dtypes is not JSON', 'a type by name');
  }
  if (!dtypes.success) throw fail(`dtypes: ${dtypes.error.issues[0].message}`, 'a type by name');
  const { bits } = formatOf(dtype);
  const other = Object.entries(dtypes.data).find(
    ([, type]) => isQuantized(type) && type !== dtype && formatOf(type).bits === bits,
  );
  if (other) throw fail(`${other[0]} is ${other[1]}`, `${dtype}, which it says it is`);
  return { dtype, method, source, dtypes: new Map(Object.entries(dtypes.data)) };
}

/** The type that metadata describes; of older files, which do not say so, without a zero point. */
const describedType = (metadata: Readonly<Record<string, string>>): QuantizedType | undefined =>
  modelTypes.find((type) => {
    const says = describe(type);
    return (
      says.bits === metadata.bits &&
      says.group === metadata.group &&
      says.zero_point === (metadata.zero_point ?? 'false')
    );
  });

/** A quantized type as metadata has it. */
function describe(dtype: QuantizedType) {
  const { bits, group, minima } = formatOf(dtype);
  return { bits: String(bits), group: String(group), zero_point: String(minima) };
}

/** One weight in the file. */
export interface Rows {
  readonly spec: WeightSpec;
  readonly dtype: WeightType;
  readonly entry: Entry;
  readonly squares: Entry | undefined;
  readonly bytes: number;
}

/** Find every weight and check its type, shape and place. */
export function findRows(
  where: string,
  specs: Readonly<Record<string, WeightSpec>>,
  { entries }: TensorFiles,
  { dtypes }: About,
): Map<string, Rows> {
  const found = new Map<string, Rows>();
  for (const [name, spec] of Object.entries(specs)) {
    const dtype = dtypes.get(name);
    if (!dtype && spec.optional) continue;
    const get = (key: string, type: StoredType, shape: readonly number[]): Entry => {
      const entry = entries.get(key);
      if (!dtype || !entry)
        throw new EngineError(
          'MISSING_TENSOR',
          `${where}: has no ${key}; expected all weights its config.json asks for; check that both belong together`,
        );
      const at = `${entry.source.name}, ${key}`;
      if (entry.type !== type || entry.shape.join() !== shape.join())
        throw new EngineError(
          'BAD_SHAPE',
          `${at}: is ${entry.type} [${entry.shape}]; expected ${type} [${shape}]; check that config.json belongs to these weights`,
        );
      if (entry.offset % alignment)
        throw failure(at)(`begins at ${entry.offset}`, `a multiple of ${alignment}`);
      return entry;
    };
    if (dtype && spec.kind === 'vector' && dtype !== 'f32')
      throw failure(`${where}, ${name}`)(`is ${dtype}`, 'f32, which vectors are');
    const stored = storedAs(dtype ?? 'f32', spec.shape);
    const entry = get(name, stored.type, stored.shape);
    found.set(name, {
      spec,
      dtype: dtype!,
      entry,
      squares: spec.byInputs ? get(`${name}.squares`, 'F64', [spec.shape[0]]) : undefined,
      bytes: entry.bytes,
    });
  }
  return found;
}

/** A tensor of this type and shape as safetensors names it. */
function storedAs(
  dtype: WeightType,
  shape: readonly number[],
): { type: StoredType; shape: readonly number[] } {
  const [rows = 0, columns = 1] = shape;
  if (isQuantized(dtype)) return { type: 'U8', shape: [rows, rowBytes(dtype, columns)] };
  return { type: dtype === 'f32' ? 'F32' : 'F16', shape };
}

/** The type to decode to; undefined to keep what the file has. Throws `BAD_REQUEST`. */
export function chooseRowType(
  where: string,
  choice: 'auto' | WeightType,
  { dtype }: { readonly dtype: WeightType },
  found: ReadonlyMap<string, Rows>,
  backend: Backend,
): 'f32' | 'f16' | undefined {
  const as = choice === 'f32' || choice === 'f16' ? choice : undefined;
  if (!as && choice !== 'auto' && choice !== dtype)
    throw new EngineError(
      'BAD_REQUEST',
      `\`weights\` is ${choice}, but ${where} holds ${dtype} already; expected auto, or f32 or f16 to decode; quantize the original to get ${choice}`,
    );
  for (const type of new Set([...found.values()].map((rows) => as ?? rows.dtype))) {
    const reason = backend.refuses(productWith(type));
    if (reason !== undefined)
      throw new EngineError(
        'BAD_REQUEST',
        `\`weights\`: the ${backend.name} backend does not compute with ${type} (${reason}); expected a type it takes; use \`weights\` f32`,
      );
  }
  return as;
}

/** Map one weight, or stream it into memory; decoded where a type is given. */
export async function loadRows(
  weights: StoredWeights,
  name: string,
  { spec, dtype, entry, squares: squaresEntry }: Rows,
  as: 'f32' | 'f16' | undefined,
): Promise<void> {
  const { source, offset, bytes } = entry;
  if (spec.kind === 'vector') {
    weights.add(name, spec);
    const values = await source.read(offset, bytes);
    weights.writeVector(name, new Float32Array(values.buffer));
    return;
  }
  const squares = squaresEntry && (await readSquares(squaresEntry));
  const { path } = source;
  if (!as && path !== undefined && weights.map(name, spec, dtype, { path, offset }, squares))
    return;

  weights.add(name, spec, as ?? dtype);
  await streamRows(name, { spec, dtype, entry }, as, (first, bytes, count) =>
    weights.writeRows(
      name,
      first,
      bytes,
      as && as !== dtype ? undefined : squares?.subarray(first, first + count),
    ),
  );
}

/** Stream the rows of a matrix; decoded where a type is given. */
export async function streamRows(
  name: string,
  { spec, dtype, entry: { source, offset } }: Pick<Rows, 'spec' | 'dtype' | 'entry'>,
  as: 'f32' | 'f16' | undefined,
  take: (first: number, bytes: Uint8Array<ArrayBuffer>, count: number) => void,
): Promise<void> {
  const [rows = 0, columns = 0] = spec.shape;
  const stride = rowBytes(dtype, columns);
  const chunkRows = Math.max(1, Math.floor(chunkBytes / stride));
  for (let first = 0; first < rows; first += chunkRows) {
    const count = Math.min(chunkRows, rows - first);
    const bytes = await source.read(offset + first * stride, count * stride);
    const chunk = { dtype, shape: [count, columns], bytes };
    const where = `${source.name}, ${name}`;
    take(first, as && as !== dtype ? decode(chunk, as, where) : bytes, count);
  }
}

async function readSquares({ name, source, offset, bytes }: Entry): Promise<Float64Array> {
  const squares = new Float64Array((await source.read(offset, bytes)).buffer);
  if (squares.every((square) => square >= 0 && square < Infinity)) return squares;
  throw failure(`${source.name}, ${name}`)(
    'holds what is no sum of squares',
    'finite numbers >= 0',
  );
}

function decode(rows: HostTensor, as: 'f32' | 'f16', where: string): Uint8Array<ArrayBuffer> {
  const [count = 0, columns = 0] = rows.shape;
  const read = rowReader(rows);
  const values = new Float32Array(count * columns);
  for (let row = 0; row < count; row++)
    read(row, values.subarray(row * columns, (row + 1) * columns));
  return convertRows(new Uint8Array(values.buffer), 'f32', as, columns, where);
}

/** A weight to be written. */
export interface PlannedRows {
  readonly name: string;
  readonly dtype: WeightType;
  readonly shape: readonly number[];
  /** Its `rowSquares` will be wanted. */
  readonly norms: boolean;
}

/**
 * The parts of a weight file, in order. Each weight is asked for when the one before it is written.
 */
export async function* encodeRows(
  plan: readonly PlannedRows[],
  { dtype: most, method, source }: Omit<About, 'dtypes'>,
  encode: (name: string, dtype: WeightType) => Promise<HostTensor>,
): AsyncGenerator<Uint8Array> {
  const tensors = plan.flatMap(({ name, dtype, shape, norms }) => {
    const weight = { name, ...storedAs(dtype, shape), bytes: byteLength(dtype, shape) };
    const squares = { name: `${name}.squares`, type: 'F64', shape: [shape[0]] } as const;
    return norms ? [weight, { ...squares, bytes: 8 * shape[0] }] : [weight];
  });
  const padded = tensors.flatMap((tensor) => {
    const bytes = padding(tensor.bytes);
    const filler = { name: `${tensor.name}.padding`, type: 'U8', shape: [bytes], bytes } as const;
    return bytes ? [tensor, filler] : [tensor];
  });
  const dtypes = JSON.stringify(Object.fromEntries(plan.map(({ name, dtype }) => [name, dtype])));
  const metadata = { format: formatName, version: formatVersion, ...describe(most) };
  yield encodeHeader(padded, { ...metadata, method, source, dtypes }, alignment);
  for (const { name, dtype, shape, norms } of plan) {
    const { bytes, ...rows } = await encode(name, dtype);
    if (rows.dtype !== dtype || bytes.length !== byteLength(dtype, shape))
      throw new EngineError('INTERNAL', `${name}: ${rows.dtype} [${size(rows.shape)}] was encoded`);
    yield bytes;
    yield new Uint8Array(padding(bytes.length));
    if (!norms) continue;
    const squares = rowSquares({ ...rows, bytes });
    yield new Uint8Array(squares.buffer);
    yield new Uint8Array(padding(squares.byteLength));
  }
}

/** Bytes up to where the next tensor may begin. */
const padding = (bytes: number): number => (alignment - (bytes % alignment)) % alignment;

const failure =
  (where: string) =>
  (found: string, expected: string): EngineError =>
    new EngineError(
      'BAD_CHECKPOINT',
      `${where}: ${found}; expected ${expected}; quantize the model again`,
    );

import { EngineError } from '../errors.ts';
import type { HostTensor } from '../op.ts';
import type { Folder, Source } from '../source.ts';
import type { DType } from '../tensor.ts';
import type { Entry as AnyEntry, TensorFiles } from './entry.ts';
import { parseJson, readJsonFile } from './json.ts';

/**
 * Safetensors: a u64 (little-endian), that many bytes of JSON, then the bytes of all tensors without a
 * gap. Headers come from anywhere, so nothing of one is believed before it was checked.
 * https://huggingface.co/docs/safetensors
 */

/** Bits of one element of each type the format has. */
const elementBits = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

export type StoredType = keyof typeof elementBits;

type Entry = AnyEntry<StoredType>;

/** Stored types that have a type of ours. */
export const dtypeOf: Readonly<Partial<Record<StoredType, DType>>> = {
  F32: 'f32',
  F16: 'f16',
  BF16: 'bf16',
  BOOL: 'u8',
  U8: 'u8',
  I32: 'i32',
  U32: 'u32',
};

/** The largest header the format allows. */
const largestHeader = 100_000_000;

/** Read and check the header of one file. Throws `BAD_CHECKPOINT`. The source stays the caller's. */
export async function readHeader(source: Source): Promise<{
  entries: Map<string, Entry>;
  metadata: Record<string, string>;
}> {
  const fail = failure(source.name);
  if (source.size < 8) throw fail(`has ${source.size} bytes`, 'at least 8');
  const length = Number(new DataView((await source.read(0, 8)).buffer).getBigUint64(0, true));
  const longest = Math.min(source.size - 8, largestHeader);
  if (length > longest) throw fail(`its header has ${length} bytes`, `at most ${longest}`);
  const header = parseJson(
    await source.read(8, length),
    `${source.name}, header`,
    'BAD_CHECKPOINT',
  );
  if (!isRecord(header)) throw fail('its header is not an object', 'tensors by name');

  const entries = new Map<string, Entry>();
  const metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name !== '__metadata__') {
      entries.set(name, entryOf(source, 8 + length, name, value));
      continue;
    }
    if (!isRecord(value)) throw fail('__metadata__ is not an object', 'texts by name');
    for (const [key, text] of Object.entries(value)) {
      if (typeof text !== 'string') throw fail(`__metadata__.${key} is not a text`, 'a text');
      Object.defineProperty(metadata, key, { value: text, enumerable: true });
    }
  }

  let end = 8 + length;
  const inOrder = [...entries.values()].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  for (const entry of inOrder) {
    if (entry.offset !== end)
      throw fail(`${entry.name} begins at ${entry.offset}`, `${end}, where the one before it ends`);
    end += entry.bytes;
  }
  if (end !== source.size)
    throw fail(`has ${source.size} bytes`, `${end}, where its last tensor ends`);
  return { entries, metadata };
}

function entryOf(source: Source, start: number, name: string, value: unknown): Entry {
  const fail = failure(`${source.name}, ${name}`);
  if (!isRecord(value)) throw fail('is not described by an object', 'dtype, shape, data_offsets');
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !Object.hasOwn(elementBits, dtype))
    throw fail(`its dtype is ${JSON.stringify(dtype)}`, Object.keys(elementBits).join(', '));
  const type = dtype as StoredType;
  if (!isIntegers(shape)) throw fail(`its shape is ${JSON.stringify(shape)}`, 'whole numbers');
  if (!isIntegers(offsets) || offsets.length !== 2 || offsets[0] > offsets[1])
    throw fail(`its data_offsets are ${JSON.stringify(offsets)}`, 'a beginning and an end');
  const [from, to] = offsets;
  if (to > source.size - start)
    throw fail(`it ends at ${to}`, `at most ${source.size - start}, where the file ends`);
  const bytes = (shape.reduce((a, b) => a * b, 1) * elementBits[type]) / 8;
  if (bytes !== to - from)
    throw fail(`it takes ${to - from} bytes`, `${bytes} for ${type} [${shape}]`);
  return { name, type, shape, offset: start + from, bytes, source };
}

/** Where a checkpoint's tensors lie; `placed` where an index says which shard holds each. */
interface Layout {
  readonly files: readonly string[];
  readonly placed?: ReadonlyMap<string, string>;
}

const singleFile = 'model.safetensors';
const indexFile = `${singleFile}.index.json`;

/**
 * The weight files of a checkpoint: `model.safetensors`, or the shards that
 * `model.safetensors.index.json` names. Throws `FILE_NOT_FOUND`, `BAD_CHECKPOINT`.
 */
export async function weightFiles(folder: Folder): Promise<Layout> {
  if (folder.files.includes(singleFile)) return { files: [singleFile] };
  if (!folder.files.includes(indexFile))
    throw new EngineError(
      'FILE_NOT_FOUND',
      `${folder.name}: has neither ${singleFile} nor ${indexFile}; expected weights as safetensors; convert older formats first`,
    );
  const placed = await readIndex(folder, indexFile);
  return { files: [...new Set(placed.values())].sort(), placed };
}

/** Open the weight files of a checkpoint and check their headers. Throws as `weightFiles` does. */
export async function openTensors(folder: Folder): Promise<TensorFiles> {
  const { files, placed } = await weightFiles(folder);
  const opened: Source[] = [];
  const close = async (): Promise<void> => {
    for (const source of opened) await source[Symbol.asyncDispose]();
  };
  const entries = new Map<string, Entry>();
  const metadata: Record<string, string> = {};
  try {
    for (const file of files) {
      const source = await folder.open(file);
      opened.push(source);
      const header = await readHeader(source);
      Object.assign(metadata, header.metadata);
      for (const entry of header.entries.values())
        if (!placed || placed.get(entry.name) === file) entries.set(entry.name, entry);
    }
    for (const [name, file] of placed ?? [])
      if (!entries.has(name))
        throw failure(`${folder.name}/${file}`)(`has no ${name}`, `what ${indexFile} says`);
  } catch (error) {
    await close();
    throw error;
  }
  return { entries, metadata, [Symbol.asyncDispose]: close };
}

/** Which shard holds each tensor. */
async function readIndex(folder: Folder, file: string): Promise<Map<string, string>> {
  const fail = failure(`${folder.name}/${file}`);
  const json = await readJsonFile(folder, file, 'BAD_CHECKPOINT');
  const map = isRecord(json) ? json.weight_map : undefined;
  if (!isRecord(map)) throw fail('has no weight_map', 'file names by tensor');
  const placed = new Map<string, string>();
  for (const [name, shard] of Object.entries(map)) {
    if (typeof shard !== 'string' || !folder.files.includes(shard))
      throw fail(`${name} lies in ${JSON.stringify(shard)}`, `a file of ${folder.name}`);
    placed.set(name, shard);
  }
  return placed;
}

/** Read a whole file into memory. Throws `BAD_CHECKPOINT`, also for types that are not ours. */
export async function readTensors(source: Source): Promise<{
  tensors: Map<string, HostTensor>;
  metadata: Record<string, string>;
}> {
  const { entries, metadata } = await readHeader(source);
  const tensors = new Map<string, HostTensor>();
  for (const { name, type, shape, offset, bytes } of entries.values()) {
    const dtype = dtypeOf[type];
    if (!dtype)
      throw failure(`${source.name}, ${name}`)(`is ${type}`, Object.keys(dtypeOf).join(', '));
    tensors.set(name, { dtype, shape, bytes: await source.read(offset, bytes) });
  }
  return { tensors, metadata };
}

/** The parts of a file, in order: header, then each tensor's bytes. `int8` encodings are not a file type. */
export function* encodeTensors(
  tensors: ReadonlyMap<string, HostTensor>,
  metadata: Readonly<Record<string, string>>,
): Generator<Uint8Array> {
  yield encodeHeader(
    [...tensors].map(([name, { dtype, shape, bytes }]) => {
      const type = storedAs[dtype];
      if (!type || name === '__metadata__')
        throw new EngineError('INTERNAL', `${name}: ${dtype} cannot be written to a file`);
      return { name, type, shape, bytes: bytes.byteLength };
    }),
    metadata,
  );
  for (const { bytes } of tensors.values()) yield bytes;
}

/**
 * All of a file that comes before the bytes of its tensors, which follow in this order; its length is a
 * multiple of `alignment`, itself one of 8.
 */
export function encodeHeader(
  tensors: Iterable<Pick<Entry, 'name' | 'type' | 'shape' | 'bytes'>>,
  metadata: Readonly<Record<string, string>>,
  alignment = 8,
): Uint8Array {
  const header: [string, unknown][] = [['__metadata__', metadata]];
  let end = 0;
  for (const { name, type, shape, bytes } of tensors)
    header.push([name, { dtype: type, shape, data_offsets: [end, (end += bytes)] }]);
  const text = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const encoded = new Uint8Array(Math.ceil((8 + text.length) / alignment) * alignment).fill(0x20);
  new DataView(encoded.buffer).setBigUint64(0, BigInt(encoded.length - 8), true);
  encoded.set(text, 8);
  return encoded;
}

const storedAs: Readonly<Partial<Record<DType, StoredType>>> = {
  f32: 'F32',
  f16: 'F16',
  bf16: 'BF16',
  u8: 'U8',
  i32: 'I32',
  u32: 'U32',
};

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isIntegers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && (n as number) >= 0);

const failure =
  (where: string) =>
  (found: string, expected: string): EngineError =>
    new EngineError(
      'BAD_CHECKPOINT',
      `${where}: ${found}; expected ${expected}; the file is damaged or not safetensors, fetch it again`,
    );

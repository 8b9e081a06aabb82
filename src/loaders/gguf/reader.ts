import { EngineError } from '../../errors.ts';
import type { Source } from '../../source.ts';
import { type Layout, layoutOf } from './types.ts';

/**
 * The header of a GGUF file, version 2 or 3: magic, version, numbers of tensors and of metadata, metadata,
 * a description of each tensor; then, at a multiple of the alignment, the tensors' bytes.
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * Headers come from anywhere. Every count is checked against the bytes that are left before anything is
 * made of it, every offset against the end of the file.
 */
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  /** By name. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

export type MetadataValue = number | boolean | string | readonly string[] | Numbers;

/** As many bytes an element as in the file. */
export type Numbers =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array;

export interface GgufTensor extends Layout {
  readonly name: string;
  /** Row-major, as everywhere here: the last axis is the row. */
  readonly shape: readonly number[];
  /** From the beginning of the file. */
  readonly offset: number;
  readonly bytes: number;
  readonly source: Source;
}

/** Read first; four times as much whenever the header turns out to be longer. */
const firstRead = 2 ** 20;
/** Bytes of a header, mostly vocabulary: far more than any real one has. */
const largestHeader = 2 ** 30;
const defaultAlignment = 32;

/** Read and check the header of one file. Throws `BAD_CHECKPOINT`. The source stays the caller's. */
export async function readGguf(source: Source): Promise<GgufHeader> {
  for (let length = firstRead; ; length *= 4) {
    const bytes = await source.read(0, Math.min(length, source.size, largestHeader));
    const header = parse(source, bytes);
    if (header) return header;
  }
}

/** Bytes of a number of each type, how it is read, and what holds many. */
const scalars: Readonly<Record<number, Scalar>> = {
  0: [1, (view, at) => view.getUint8(at), Uint8Array],
  1: [1, (view, at) => view.getInt8(at), Int8Array],
  2: [2, (view, at) => view.getUint16(at, true), Uint16Array],
  3: [2, (view, at) => view.getInt16(at, true), Int16Array],
  4: [4, (view, at) => view.getUint32(at, true), Uint32Array],
  5: [4, (view, at) => view.getInt32(at, true), Int32Array],
  6: [4, (view, at) => view.getFloat32(at, true), Float32Array],
  7: [1, (view, at) => view.getUint8(at), Uint8Array],
  10: [8, (view, at) => Number(view.getBigUint64(at, true)), Float64Array],
  11: [8, (view, at) => Number(view.getBigInt64(at, true)), Float64Array],
  12: [8, (view, at) => view.getFloat64(at, true), Float64Array],
};
type Scalar = readonly [
  bytes: number,
  read: (view: DataView, at: number) => number,
  many: new (length: number) => Numbers,
];
const booleanType = 7;
const textType = 8;
const arrayType = 9;

/** Thrown where the bytes read so far end, and the file does not. */
class NeedsMore extends Error {}

/** undefined where the header goes on after these bytes of the file. */
function parse(source: Source, bytes: Uint8Array<ArrayBuffer>): GgufHeader | undefined {
  try {
    return new HeaderParser(source, bytes).header();
  } catch (thrown) {
    if (thrown instanceof NeedsMore) return undefined;
    throw thrown;
  }
}

class HeaderParser {
  readonly #source: Source;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  #at = 0;

  constructor(source: Source, bytes: Uint8Array<ArrayBuffer>) {
    this.#source = source;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  header(): GgufHeader {
    const [magic, version] = [this.#number(4, 'its magic'), this.#number(4, 'its version')];
    if (magic !== 0x46554747) throw this.#fail('does not begin with "GGUF"', 'a GGUF file');
    if (version !== 2 && version !== 3)
      throw this.#fail(
        version & 0xffff ? `version is ${version}` : 'its numbers are big-endian',
        'version 2 or 3, little-endian',
      );
    const tensorCount = this.#number(10, 'its number of tensors');
    const metadataCount = this.#number(10, 'its number of metadata');
    // A name and a type at least; the other numbers of a tensor are counted when they are read.
    this.#expectRoom(tensorCount, 8 + 4 + 8 + 4 + 8, 'tensors');
    this.#expectRoom(metadataCount, 8 + 4 + 1, 'metadata');

    const metadata = new Map<string, MetadataValue>();
    for (let i = 0; i < metadataCount; i++) {
      const key = this.#text(`key ${i}`);
      if (metadata.has(key)) throw this.#fail(`${shown(key)} occurs twice`, 'each key once');
      metadata.set(key, this.#value(this.#number(4, `the type of ${shown(key)}`), key));
    }
    const found = Array.from({ length: tensorCount }, (_, i) => this.#describedTensor(i));

    const alignment = metadata.get('general.alignment') ?? defaultAlignment;
    if (
      typeof alignment !== 'number' ||
      !(alignment >= 1) ||
      !Number.isInteger(Math.log2(alignment))
    )
      throw this.#fail(`general.alignment is ${String(alignment)}`, 'a power of two');
    const start = Math.ceil(this.#at / alignment) * alignment;
    return { metadata, tensors: this.#place(found, start, alignment) };
  }

  /** Name, shape, type and offset of one tensor; the offset counts from where data begin. */
  #describedTensor(i: number): Omit<GgufTensor, 'source'> {
    const name = this.#text(`name of tensor ${i}`);
    const axes = this.#number(4, `the axes of ${shown(name)}`);
    if (axes < 1 || axes > 4) throw this.#fail(`${shown(name)} has ${axes} axes`, '1 to 4');
    const shape = Array.from({ length: axes }, () => this.#number(10, shown(name))).reverse();
    const type = this.#number(4, `the type of ${shown(name)}`);
    const layout = layoutOf(type);
    if (!layout)
      throw this.#fail(`${shown(name)} is of type ${type}`, 'a type this build knows; update it');
    const offset = this.#number(10, `the offset of ${shown(name)}`);
    const elements = shape.reduce((a, b) => a * b, 1);
    const row = shape[axes - 1];
    if (!(elements >= 1 && elements <= 8 * this.#source.size) || row % layout.block)
      throw this.#fail(
        `${shown(name)} is ${layout.type} [${shape}]`,
        `rows of whole blocks of ${layout.block} that fit the file`,
      );
    return { ...layout, name, shape, offset, bytes: (elements / layout.block) * layout.blockBytes };
  }

  /** Check that tensors lie within the file, each alone, and give them their places in it. */
  #place(
    found: readonly Omit<GgufTensor, 'source'>[],
    start: number,
    alignment: number,
  ): Map<string, GgufTensor> {
    const tensors = new Map<string, GgufTensor>();
    let end = start;
    let before = 'the header';
    for (const tensor of [...found].sort((a, b) => a.offset - b.offset)) {
      const name = shown(tensor.name);
      if (tensors.has(tensor.name)) throw this.#fail(`${name} occurs twice`, 'each tensor once');
      if (tensor.offset % alignment)
        throw this.#fail(`${name} begins at ${tensor.offset}`, `a multiple of ${alignment}`);
      const offset = start + tensor.offset;
      if (offset < end)
        throw this.#fail(`${name} begins at ${offset}`, `at least ${end}, where ${before} ends`);
      end = offset + tensor.bytes;
      if (end > this.#source.size)
        throw this.#fail(`${name} ends at ${end}`, `at most ${this.#source.size}, its size`);
      before = name;
      tensors.set(tensor.name, { ...tensor, offset, source: this.#source });
    }
    return tensors;
  }

  #value(type: number, key: string): MetadataValue {
    if (type === textType) return this.#text(shown(key));
    if (type === booleanType) return this.#number(type, shown(key)) !== 0;
    if (type !== arrayType) return this.#number(type, shown(key));
    const of = this.#number(4, `the type of ${shown(key)}`);
    const count = this.#number(10, `the length of ${shown(key)}`);
    if (of === textType) {
      this.#expectRoom(count, 8, shown(key));
      return Array.from({ length: count }, () => this.#text(shown(key)));
    }
    const [bytes, read, Many] = this.#scalar(of, key);
    this.#expectRoom(count, bytes, shown(key));
    const at = this.#take(count * bytes, shown(key));
    const values = new Many(count);
    for (let i = 0; i < count; i++) values[i] = read(this.#view, at + i * bytes);
    return values;
  }

  #scalar(type: number, what: string): Scalar {
    const scalar = Object.hasOwn(scalars, type) ? scalars[type] : undefined;
    if (scalar) return scalar;
    throw this.#fail(`${shown(what)} is of type ${type}`, 'a number, a text or an array of them');
  }

  #number(type: number, what: string): number {
    const [bytes, read] = this.#scalar(type, what);
    return read(this.#view, this.#take(bytes, what));
  }

  #text(what: string): string {
    const length = this.#number(10, what);
    const at = this.#take(length, what);
    return decoder.decode(this.#bytes.subarray(at, at + length));
  }

  /** Where the next `count` bytes begin; they are there. */
  #take(count: number, what: string): number {
    if (count > this.#source.size - this.#at)
      throw this.#fail(`${what} takes ${count} bytes`, `at most ${this.#source.size - this.#at}`);
    const at = this.#at;
    if (at + count > this.#bytes.length) {
      if (this.#bytes.length === largestHeader)
        throw this.#fail('its header goes on', `at most ${largestHeader} bytes of header`);
      throw new NeedsMore();
    }
    this.#at += count;
    return at;
  }

  /** Refuse more things than the rest of the file has room for. */
  #expectRoom(count: number, bytes: number, what: string): void {
    const room = Math.floor((this.#source.size - this.#at) / bytes);
    if (count > room) throw this.#fail(`says that ${what} are ${count}`, `at most ${room}`);
  }

  #fail(found: string, expected: string): EngineError {
    return new EngineError(
      'BAD_CHECKPOINT',
      `${this.#source.name}: ${found}; expected ${expected}; the file is damaged or not GGUF, fetch it again`,
    );
  }
}

/** A text of a file in a message: what breaks lines is written out, and it does not go on for ever. */
const shown = (text: string): string => JSON.stringify(text).slice(1, -1).slice(0, 100);

/** A broken text becomes U+FFFD, which no name that is looked for has. */
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

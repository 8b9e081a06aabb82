import { f32ToF16 } from '../float16.ts';
import { uniform } from '../random.ts';
import { layoutNamed } from '../loaders/gguf/types.ts';
import { size } from '../tensor.ts';

/** Types a file of random weights is written in, by their numbers in it. */
const numbers = { F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, Q8_0: 8 } as const;

export type GgufType = keyof typeof numbers;

export interface GgufTensor {
  readonly name: string;
  readonly type: GgufType;
  /** Row-major: the last axis is the row, whole blocks of its type. */
  readonly shape: readonly number[];
  /** `random`: variance 1 / columns, so that activations stay finite. Of F32 also all the same. */
  readonly content: 'random' | number;
}

/** A number is stored as f32; whole numbers say so. */
export type GgufValue =
  string | boolean | readonly string[] | { readonly whole: number } | { readonly real: number };

export type GgufMetadata = Readonly<Record<string, GgufValue>>;

const alignment = 32;

/** Bytes of a tensor in a file. */
export function ggufBytes({ type, shape }: Pick<GgufTensor, 'type' | 'shape'>): number {
  const { block, blockBytes } = layoutNamed(type);
  return (size(shape) / block) * blockBytes;
}

/**
 * A GGUF file, version 3, of random weights, in pieces: metadata, descriptions of tensors, tensors, each at
 * a multiple of 32 bytes. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * Random blocks are made once for each type and width and used again, from another one on, for each
 * tensor: a file of gigabytes is made as fast as it is written.
 */
export function* writeGguf(
  metadata: GgufMetadata,
  tensors: readonly GgufTensor[],
): Generator<Uint8Array> {
  const header = new HeaderWriter();
  header.number('uint32', 0x46554747);
  header.number('uint32', 3);
  header.long(tensors.length);
  header.long(Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) {
    header.text(key);
    header.value(value);
  }
  let offset = 0;
  for (const tensor of tensors) {
    header.text(tensor.name);
    header.number('uint32', tensor.shape.length);
    for (const axis of [...tensor.shape].reverse()) header.long(axis);
    header.number('uint32', numbers[tensor.type]);
    header.long(offset);
    offset += aligned(ggufBytes(tensor));
  }
  yield* padded(header.bytes());
  const random = uniform(1);
  const made = new Map<string, Uint8Array>();
  for (const tensor of tensors) {
    const columns = tensor.shape[tensor.shape.length - 1];
    const key = `${tensor.type} ${columns} ${tensor.content}`;
    const blocks = made.get(key) ?? makeBlocks(tensor, columns, random);
    made.set(key, blocks);
    const { blockBytes } = layoutNamed(tensor.type);
    let from = Math.floor((random() * blocks.length) / blockBytes) * blockBytes;
    const bytes = ggufBytes(tensor);
    for (let done = 0; done < bytes; from = 0) {
      const piece = blocks.subarray(from, from + bytes - done);
      yield piece;
      done += piece.length;
    }
    yield new Uint8Array(aligned(bytes) - bytes);
  }
}

const aligned = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;

function* padded(bytes: Uint8Array): Generator<Uint8Array> {
  yield bytes;
  yield new Uint8Array(aligned(bytes.length) - bytes.length);
}

/** Elements made for each type and width. */
const madeElements = 2 ** 20;

function makeBlocks(
  { type, content }: GgufTensor,
  columns: number,
  random: () => number,
): Uint8Array {
  const { block, blockBytes } = layoutNamed(type);
  const count = madeElements / block;
  const bytes = new Uint8Array(count * blockBytes);
  const view = new DataView(bytes.buffer);
  const largest = Math.sqrt(3 / columns);
  const value = (): number => (content === 'random' ? (2 * random() - 1) * largest : content);
  if (type === 'F32') for (let i = 0; i < count; i++) view.setFloat32(4 * i, value(), true);
  else if (type === 'F16')
    for (let i = 0; i < count; i++) view.setUint16(2 * i, f32ToF16(value()), true);
  else {
    // A scale, of Q4_1 a minimum, then codes: any byte is a code of Q8_0, or two of the others.
    const scale = f32ToF16(largest / (type === 'Q8_0' ? 128 : 8));
    for (let i = 0; i < bytes.length; i++) bytes[i] = 256 * random();
    for (let at = 0; at < bytes.length; at += blockBytes) {
      view.setUint16(at, scale, true);
      if (type === 'Q4_1') view.setUint16(at + 2, f32ToF16(-largest), true);
    }
  }
  return bytes;
}

const valueTypes = { uint32: 4, float32: 6, bool: 7, string: 8, array: 9 } as const;

class HeaderWriter {
  #bytes = new Uint8Array(2 ** 16);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  number(type: 'uint32' | 'float32', value: number): void {
    const at = this.#grow(4);
    if (type === 'uint32') this.#view.setUint32(at, value, true);
    else this.#view.setFloat32(at, value, true);
  }

  long(value: number): void {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }

  text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.long(bytes.length);
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** A value after its type. */
  value(value: GgufValue): void {
    if (typeof value === 'string') {
      this.number('uint32', valueTypes.string);
      this.text(value);
    } else if (typeof value === 'boolean') {
      this.number('uint32', valueTypes.bool);
      this.#bytes[this.#grow(1)] = Number(value);
    } else if ('whole' in value) {
      this.number('uint32', valueTypes.uint32);
      this.number('uint32', value.whole);
    } else if ('real' in value) {
      this.number('uint32', valueTypes.float32);
      this.number('float32', value.real);
    } else {
      this.number('uint32', valueTypes.array);
      this.number('uint32', valueTypes.string);
      this.long(value.length);
      for (const text of value) this.text(text);
    }
  }

  /** Where `count` more bytes begin. */
  #grow(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(2 * this.#length);
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}

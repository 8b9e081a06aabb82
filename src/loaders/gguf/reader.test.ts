import { describe, expect, test } from 'vitest';
import { encodeGguf, type GgufFile, type GgufTensorData } from '../../../test/support/gguf-file.ts';
import { EngineError } from '../../errors.ts';
import type { Source } from '../../source.ts';
import { type GgufHeader, readGguf } from './reader.ts';

/** Bytes in memory, which refuse to be read beyond their end. */
const sourceOf = (bytes: Uint8Array): Source => ({
  name: 'test.gguf',
  size: bytes.length,
  read: (offset, length) => {
    expect(offset + length).toBeLessThanOrEqual(bytes.length);
    return Promise.resolve(bytes.slice(offset, offset + length));
  },
  [Symbol.asyncDispose]: () => Promise.resolve(),
});

const read = (file: GgufFile): Promise<GgufHeader> => readGguf(sourceOf(encodeGguf(file)));

/** What it is refused with. */
async function refusal(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(EngineError);
  expect((error as EngineError).code).toBe('BAD_CHECKPOINT');
  return (error as EngineError).message;
}

const tensor = (more: Partial<GgufTensorData> = {}): GgufTensorData => ({
  ...{ name: 'a.weight', shape: [2, 3], type: 0, bytes: new Uint8Array(24) },
  ...more,
});

test('metadata of every type', async () => {
  const { metadata } = await read({
    metadata: [
      ['u8', { type: 0, value: 200 }],
      ['i8', { type: 1, value: -3 }],
      ['u16', { type: 2, value: 60_000 }],
      ['i16', { type: 3, value: -300 }],
      ['u32', { type: 4, value: 4e9 }],
      ['i32', -70_000],
      ['f32', { type: 6, value: 0.5 }],
      ['yes', true],
      ['text', 'é🦙'],
      ['u64', { type: 10, value: 2 ** 40 }],
      ['i64', { type: 11, value: -(2 ** 40) }],
      ['f64', { type: 12, value: 0.1 }],
      ['texts', ['a', '', 'b']],
      ['numbers', { of: 3, values: [1, -2] }],
      ['__proto__', 'a key like others'],
    ],
  });
  expect(Object.fromEntries([...metadata].slice(0, -1))).toEqual({
    ...{ u8: 200, i8: -3, u16: 60_000, i16: -300, u32: 4e9, i32: -70_000, f32: 0.5, yes: true },
    ...{ text: 'é🦙', u64: 2 ** 40, i64: -(2 ** 40), f64: 0.1, texts: ['a', '', 'b'] },
    numbers: Int16Array.of(1, -2),
  });
  expect(metadata.get('__proto__')).toBe('a key like others');
});

test('tensors lie where the file says, at the alignment it says', async () => {
  const file = encodeGguf({
    metadata: [['general.alignment', 64]],
    alignment: 64,
    tensors: [
      tensor({ bytes: new Uint8Array(24).fill(1) }),
      tensor({ name: 'b.weight', shape: [4, 64], type: 2, bytes: new Uint8Array(144).fill(2) }),
    ],
  });
  const { tensors } = await readGguf(sourceOf(file));
  const [a, b] = [tensors.get('a.weight')!, tensors.get('b.weight')!];
  expect([a.type, a.shape, a.bytes]).toEqual(['F32', [2, 3], 24]);
  expect([b.type, b.shape, b.bytes, b.block]).toEqual(['Q4_0', [4, 64], 144, 32]);
  expect(a.offset % 64).toBe(0);
  expect(b.offset).toBe(a.offset + 64);
  expect(file.subarray(a.offset, a.offset + 24)).toEqual(new Uint8Array(24).fill(1));
  expect(file.subarray(b.offset, b.offset + 144)).toEqual(new Uint8Array(144).fill(2));
});

test('a header longer than the first read', async () => {
  const texts = Array.from({ length: 300_000 }, (_, i) => String(i));
  const { metadata, tensors } = await read({ metadata: [['t', texts]], tensors: [tensor()] });
  expect(metadata.get('t')).toEqual(texts);
  expect(tensors.size).toBe(1);
});

describe('refused:', () => {
  test.each<[what: string, file: GgufFile, says: RegExp]>([
    ['version 1', { version: 1 }, /version is 1/],
    ['big-endian', { version: 3 * 2 ** 24 }, /big-endian/],
    ['a key twice', { metadata: [['a', 1], ['a', 2]] }, /a occurs twice/], // prettier-ignore
    ['a tensor twice', { tensors: [tensor(), tensor()] }, /a.weight occurs twice/],
    ['an unknown type', { tensors: [tensor({ type: 4 })] }, /is of type 4/],
    ['rows of half blocks', { tensors: [tensor({ type: 2 })] }, /whole blocks of 32/],
    ['no axis', { tensors: [tensor({ shape: [] })] }, /has 0 axes/],
    ['five axes', { tensors: [tensor({ shape: [1, 1, 1, 2, 3] })] }, /has 5 axes/],
    ['no element', { tensors: [tensor({ shape: [0, 3] })] }, /fit the file/],
    ['a shape beyond all bounds', { tensors: [tensor({ shape: [2 ** 50, 2 ** 50] })] }, /fit/],
    ['a tensor past the end', { tensors: [tensor({ shape: [20, 3] })] }, /ends at/],
    ['an offset past the end', { tensors: [tensor({ bytes: new Uint8Array(0) })] }, /ends at/],
    ['an odd offset', { tensors: [tensor({ offset: 4 })] }, /a multiple of 32/],
    [
      'overlapping tensors',
      { tensors: [tensor({ name: 'b' }), tensor({ offset: 0 })] },
      /where b ends/,
    ],
    ['an alignment of 0', { metadata: [['general.alignment', 0]] }, /power of two/],
    ['an alignment of 24', { metadata: [['general.alignment', 24]] }, /power of two/],
    ['a value of no type', { metadata: [['a', { of: 13, values: [] }]] }, /of type 13/],
    ['arrays of arrays', { metadata: [['a', { of: 9, values: [] }]] }, /of type 9/],
  ])('%s', async (_, file, says) => {
    expect(await refusal(read(file))).toMatch(says);
  });

  /** A file in which the eight bytes at `at` are a count. */
  const counting = (at: number, count: number, file: GgufFile): Promise<GgufHeader> => {
    const bytes = encodeGguf(file);
    new DataView(bytes.buffer).setBigUint64(at, BigInt(count), true);
    return readGguf(sourceOf(bytes));
  };
  const huge = [2 ** 31, 2 ** 52, 2 ** 63];

  test.each(huge)('%d of anything', async (count) => {
    const keyAt = 24;
    const valueAt = keyAt + 8 + 1 + 4;
    const words: GgufFile = { metadata: [['a', ['b']]] };
    expect(await refusal(counting(8, count, {}))).toMatch(/tensors are/);
    expect(await refusal(counting(16, count, {}))).toMatch(/metadata are/);
    expect(await refusal(counting(keyAt, count, words))).toMatch(/takes/);
    expect(await refusal(counting(valueAt + 4, count, words))).toMatch(/a are/);
    expect(await refusal(counting(valueAt + 12, count, words))).toMatch(/takes/);
    const numbers: GgufFile = { metadata: [['a', { of: 6, values: [1] }]] };
    expect(await refusal(counting(valueAt + 4, count, numbers))).toMatch(/a are/);
  });

  test('every shorter file', async () => {
    const bytes = encodeGguf({ metadata: [['a', ['b', 'c']]], tensors: [tensor()] });
    for (let length = 0; length < bytes.length - 8; length++)
      await refusal(readGguf(sourceOf(bytes.subarray(0, length))));
  });

  test('another file', async () => {
    expect(
      await refusal(readGguf(sourceOf(new TextEncoder().encode('{"a": "safetensors"}')))),
    ).toMatch(/does not begin with "GGUF"/);
  });
});

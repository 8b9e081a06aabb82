import { expect, test } from 'vitest';
import { f16ToF32 } from '../float16.ts';
import { readGguf } from '../loaders/gguf/reader.ts';
import type { Source } from '../source.ts';
import { ggufBytes, type GgufTensor, type GgufType, writeGguf } from './gguf.ts';

const metadata = {
  'general.architecture': 'llama',
  'llama.block_count': { whole: 3 },
  'llama.rope.freq_base': { real: 0.5 },
  'llama.flag': true,
  'tokenizer.ggml.tokens': ['<0>', 'é', ''],
  'tokenizer.ggml.merges': [],
};

const tensor = (
  name: string,
  type: GgufType,
  shape: number[],
  content: GgufTensor['content'] = 'random',
): GgufTensor => ({ name, type, shape, content });

const tensors = [
  tensor('half', 'F16', [3, 5]),
  tensor('norm', 'F32', [7], 1),
  tensor('bias', 'F32', [7], 0),
  tensor('bytes', 'Q8_0', [6, 64]),
  tensor('nibbles', 'Q4_0', [40_000, 64]),
  tensor('minimum', 'Q4_1', [40_000, 64]),
  tensor('plain', 'F32', [4, 8]),
];

const file = Buffer.concat([...writeGguf(metadata, tensors)]);

const source: Source = {
  name: 'random.gguf',
  size: file.length,
  read: (offset, length) => Promise.resolve(new Uint8Array(file.subarray(offset, offset + length))),
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

test('metadata and tensors are read back', async () => {
  const header = await readGguf(source);
  expect(Object.fromEntries(header.metadata)).toEqual({
    'general.architecture': 'llama',
    'llama.block_count': 3,
    'llama.rope.freq_base': 0.5,
    'llama.flag': true,
    'tokenizer.ggml.tokens': ['<0>', 'é', ''],
    'tokenizer.ggml.merges': [],
  });
  expect([...header.tensors.values()]).toMatchObject(
    tensors.map(({ name, type, shape }) => ({ name, type, shape })),
  );
  const last = [...header.tensors.values()].at(-1)!;
  expect(Math.ceil((last.offset + last.bytes) / 32) * 32).toBe(file.length);
});

test('int4 takes 4.5 bits a weight and int8 8.5, as ours do', () => {
  expect(ggufBytes({ type: 'Q4_0', shape: [2, 64] })).toBe((2 * 64 * 4.5) / 8);
  expect(ggufBytes({ type: 'Q8_0', shape: [2, 64] })).toBe((2 * 64 * 8.5) / 8);
});

/** Bytes of a tensor of the file. */
async function stored(name: string): Promise<Buffer> {
  const { offset, bytes } = (await readGguf(source)).tensors.get(name)!;
  return file.subarray(offset, offset + bytes);
}

test('constants are what they are', async () => {
  const norm = await stored('norm');
  const bias = await stored('bias');
  for (let i = 0; i < 7; i++)
    expect([norm.readFloatLE(4 * i), bias.readFloatLE(4 * i)]).toEqual([1, 0]);
});

/** The nibble that holds element i of a block. */
const nibble = (block: Buffer, from: number, i: number): number =>
  (block[from + (i % 16)] >> (i < 16 ? 0 : 4)) & 15;

test.each([
  ['bytes', 34, (block: Buffer, scale: number, i: number) => scale * block.readInt8(2 + i)],
  ['nibbles', 18, (block: Buffer, scale: number, i: number) => scale * (nibble(block, 2, i) - 8)],
  [
    'minimum',
    20,
    (block: Buffer, scale: number, i: number) =>
      scale * nibble(block, 4, i) + f16ToF32[block.readUInt16LE(2)],
  ],
] as const)('%s keep activations finite: variance 1 / columns', async (name, blockBytes, value) => {
  const data = await stored(name);
  let [sum, count] = [0, 0];
  for (let at = 0; at < data.length; at += blockBytes) {
    const block = data.subarray(at, at + blockBytes);
    const scale = f16ToF32[block.readUInt16LE(0)];
    for (let i = 0; i < 32; i++, count++) sum += value(block, scale, i) ** 2;
  }
  expect((sum / count) * 64).toBeGreaterThan(0.8);
  expect((sum / count) * 64).toBeLessThan(1.2);
});

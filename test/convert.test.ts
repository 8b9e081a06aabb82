/** What a backend converts by itself lies in memory bit for bit as what the loaders convert: needs kernels that compile. */
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Backend } from '../src/backend.ts';
import { native } from '../src/backends/native/index.ts';
import { f32ToF16 } from '../src/float16.ts';
import type { WeightType } from '../src/loaders/convert.ts';
import type { Entry } from '../src/loaders/entry.ts';
import { openFile } from '../src/loaders/fs.ts';
import { quantizedType, quantizedTypes } from '../src/loaders/gguf/rows.ts';
import { fileMatrix, plainTypes, streamMatrix } from '../src/loaders/stream.ts';
import { rowSquares } from '../src/loaders/weights.ts';
import type { WeightSpec } from '../src/model.ts';
import { uniform } from '../src/random.ts';
import type { Source } from '../src/source.ts';
import { byteLength, modelTypes } from '../src/tensor.ts';

const memoryTypes: readonly WeightType[] = ['f32', 'f16', ...modelTypes];

/** Where the f16 numbers of a block begin. */
const numbers: Readonly<Record<string, readonly number[]>> = {
  ...{ Q4_0: [0], Q4_1: [0, 2], Q5_0: [0], Q5_1: [0, 2], Q8_0: [0], IQ4_NL: [0], IQ4_XS: [0] },
  ...{ Q2_K: [80, 82], Q3_K: [108], Q4_K: [0, 2], Q5_K: [0, 2], Q6_K: [208] },
};

const next = uniform(7);
const anyByte = (): number => Math.floor(next() * 256);

/** Numbers of all sizes that f16 holds or rounds to zero; whole groups of zeros among them. */
function anyNumber(i: number): number {
  if (i % 512 < 64) return i % 2 ? 0 : -0;
  const exponent = Math.floor(next() * 38) - 24;
  return (next() - 0.5) * 2 ** exponent;
}

function bytesOfType(type: string, rows: number, columns: number): Uint8Array<ArrayBuffer> {
  const count = rows * columns;
  const values = Float32Array.from({ length: count }, (_, i) => anyNumber(i));
  if (type === 'F32') return new Uint8Array(values.buffer);
  if (type === 'F16') return new Uint8Array(Uint16Array.from(values, f32ToF16).buffer);
  if (type === 'BF16') {
    const words = new Uint32Array(values.buffer);
    return new Uint8Array(Uint16Array.from(words, (word) => word >>> 16).buffer);
  }
  const { block, blockBytes } = quantizedType(type)!;
  const bytes = Uint8Array.from({ length: (count / block) * blockBytes }, anyByte);
  for (let at = 0; at < bytes.length; at += blockBytes)
    for (const number of numbers[type]) bytes[at + number + 1] &= 0xbf; // below 2
  return bytes;
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** Ways in which rows of ours lie in a file of [rows, columns]. */
const ways: Readonly<Record<string, (rows: number, columns: number) => Partial<WeightSpec>>> = {
  'as they are': () => ({}),
  'in another order': (rows) => ({
    part: { rows, row: (i) => (i % 2) * (rows / 2) + Math.floor(i / 2) },
  }),
  'far apart': (rows, columns) => ({
    shape: [rows / 8, columns],
    part: { rows, row: (i) => 8 * i + 3 },
  }),
  turned: (rows, columns) => ({ shape: [columns, rows], transposed: true, byInputs: true }),
  'turned, a part': (rows, columns) => ({
    shape: [columns / 2, rows],
    transposed: true,
    part: { rows: columns, row: (i) => i + columns / 4 },
  }),
};

describe.skipIf(native.isas().length === 0)('native (skipped: no addon is compiled)', () => {
  let backend: Backend;
  let folder: string;
  const sources: Source[] = [];
  beforeAll(async () => {
    backend = await native.open({ threads: 2 });
    folder = await mkdtemp(join(tmpdir(), 'dejavu-convert-'));
  });
  afterAll(async () => {
    for (const source of sources) await source[Symbol.asyncDispose]();
    await backend[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  /** A file that begins with other bytes, and the entry of what follows. */
  async function stored(
    name: string,
    type: string,
    shape: readonly [number, number],
    content: Uint8Array,
  ): Promise<Entry> {
    const path = join(folder, name);
    await writeFile(path, [new Uint8Array(10), content]);
    const source = await openFile(path);
    sources.push(source);
    return { ...{ name, type, shape, source, offset: 10 }, bytes: content.byteLength };
  }

  /** The rows that the backend makes, those of the loaders, and the sums of squares of both. */
  async function both(spec: WeightSpec, entry: Entry, dtype: WeightType) {
    const tensor = backend.allocate(dtype, spec.shape, 'weights');
    const squares = await backend.convert!(tensor, fileMatrix(spec, entry)!, true);
    const [made] = await backend.read([tensor]);
    backend.free(tensor);
    const expected = new Uint8Array(byteLength(dtype, spec.shape));
    const stride = byteLength(dtype, [1, spec.shape[1]]);
    await streamMatrix(spec, entry, dtype, (first, bytes) => expected.set(bytes, first * stride));
    const known = rowSquares({ dtype, shape: spec.shape, bytes: expected });
    return { made, expected, squares, known };
  }

  describe.each([...plainTypes, ...quantizedTypes])('%s', (type) => {
    test.each(Object.entries(ways))('rows %s become the same bytes', async (way, change) => {
      const block = quantizedType(type)?.block ?? 1;
      const [rows, columns] = [64, block === 1 ? 92 : 2 * Math.max(block, 64)];
      const name = `${type} ${way}`;
      const entry = await stored(name, type, [rows, columns], bytesOfType(type, rows, columns));
      const spec: WeightSpec = { kind: 'matrix', from: name, shape: [rows, columns] };
      for (const dtype of memoryTypes) {
        const result = await both({ ...spec, ...change(rows, columns) }, entry, dtype);
        expect(same(result.made, result.expected), dtype).toBe(true);
        expect(result.squares, dtype).toEqual(result.known);
      }
    });
  });

  test('a matrix of many pieces becomes the same bytes', async () => {
    const shape = [700, 1100] as const;
    const entry = await stored('large', 'BF16', shape, bytesOfType('BF16', ...shape));
    for (const transposed of [false, true]) {
      const ours = transposed ? [...shape].reverse() : shape;
      const spec: WeightSpec = { kind: 'matrix', from: 'large', shape: ours, transposed };
      const result = await both(spec, entry, 'int4');
      expect(same(result.made, result.expected)).toBe(true);
    }
  });

  test('what is no number of f16, a file that ends early and an unknown type are left to the loaders', async () => {
    const values = Float32Array.from({ length: 64 }, (_, i) => (i === 40 ? 70_000 : i));
    const entry = await stored('beyond', 'F32', [2, 32], new Uint8Array(values.buffer));
    const spec: WeightSpec = { kind: 'matrix', from: 'beyond', shape: [2, 32] };
    const convert = (dtype: WeightType, change: object = {}) =>
      backend.convert!(
        backend.allocate(dtype, spec.shape, 'weights'),
        { ...fileMatrix(spec, entry)!, ...change },
        false,
      );
    expect(await convert('f32')).toEqual(new Float64Array(0));
    expect(await convert('f16')).toBeUndefined();
    expect(await convert('f32', { type: 'IQ1_S' })).toBeUndefined();
    expect(await convert('f32', { places: Int32Array.of(0, 2) })).toBeUndefined();
    await truncate(entry.source.path!, 200);
    expect(await convert('f32')).toBeUndefined();
    expect(await convert('f32', { turned: true, places: Int32Array.of(0, 1) })).toBeUndefined();
  });
});

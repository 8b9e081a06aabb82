import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostTensor, rowWriter, u32 } from '../rows.ts';
import type { HostTensor } from '../op.ts';
import type { Source } from '../source.ts';
import { readSafetensors, writeSafetensors } from './files.ts';
import { openFolder } from './fs.ts';
import { encodeTensors, openTensors, readHeader, readTensors } from './safetensors.ts';
import { codeOf } from '../../test/support/code-of.ts';

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'safetensors-'))));
afterAll(() => rm(folder, { recursive: true }));

function memory(bytes: Uint8Array): Source {
  return {
    name: 'memory',
    size: bytes.length,
    read: (offset, length) =>
      Promise.resolve(Uint8Array.from(bytes.subarray(offset, offset + length))),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** A file with this header, as text or as an object, and so many bytes of data. */
function file(header: unknown, dataBytes: number): Source {
  const text = new TextEncoder().encode(
    typeof header === 'string' ? header : JSON.stringify(header),
  );
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return memory(bytes);
}

const entry = (shape: unknown, from: unknown, to: unknown, dtype: unknown = 'F32') => ({
  dtype,
  shape,
  data_offsets: [from, to],
});

function example(): Map<string, HostTensor> {
  const halves = hostTensor('f16', [2, 3]);
  const write = rowWriter(halves);
  write(0, Float32Array.of(1, 2, 3));
  write(1, Float32Array.of(-1, 0.5, 65504));
  const ids = hostTensor('u32', [2]);
  u32(ids).set([7, 4_000_000_000]);
  return new Map([
    ['ids', ids],
    ['halves', halves],
    ['none', hostTensor('f32', [0, 5])],
    ['__proto__', hostTensor('u8', [3])],
  ]);
}

describe('files', () => {
  test('what is written is read', async () => {
    const path = join(folder, 'new', 'a.safetensors');
    await writeSafetensors(path, example(), { made: 'for a test' });
    const { tensors, metadata } = await readSafetensors(path);
    expect(metadata).toEqual({ made: 'for a test' });
    expect([...tensors.keys()].sort()).toEqual([...example().keys()].sort());
    for (const [name, tensor] of example()) expect(tensors.get(name), name).toEqual(tensor);
  });

  test('a write that fails leaves the old file and nothing else', async () => {
    const own = await mkdtemp(join(folder, 'failed-'));
    const path = join(own, 'a.safetensors');
    await writeSafetensors(path, example());
    const bad = new Map([...example(), ['bad', hostTensor('int8', [1, 4])]]);
    expect(await codeOf(writeSafetensors(path, bad))).toBe('INTERNAL');
    expect(await readdir(own)).toEqual(['a.safetensors']);
    expect((await readSafetensors(path)).tensors.size).toBe(4);
  });

  test('a missing file, a folder and an unknown type are refused', async () => {
    expect(await codeOf(readSafetensors(join(folder, 'absent')))).toBe('FILE_NOT_FOUND');
    expect(await codeOf(readSafetensors(folder))).toBe('FILE_NOT_FOUND');
    expect(await codeOf(readTensors(file({ a: entry([1], 0, 8, 'F64') }, 8)))).toBe(
      'BAD_CHECKPOINT',
    );
  });
});

describe('headers', () => {
  test('types that are not ours are listed', async () => {
    const { entries } = await readHeader(
      file({ a: entry([3], 0, 24, 'I64'), b: entry([2, 3], 24, 27, 'F4') }, 27),
    );
    expect(entries.get('a')).toMatchObject({ type: 'I64', shape: [3], bytes: 24 });
    expect(entries.get('b')).toMatchObject({ type: 'F4', shape: [2, 3], bytes: 3 });
  });

  const broken: Record<string, Source> = {
    'an empty file': memory(new Uint8Array()),
    'no room for a length': memory(new Uint8Array(7)),
    'a header beyond the end': memory(Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d)),
    'a header of 2^64 - 1 bytes': memory(new Uint8Array(40).fill(255)),
    'no JSON': file('{', 0),
    'bytes that are no UTF-8': memory(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0xff)),
    'a list': file('[]', 0),
    null: file('null', 0),
    'an unknown dtype': file({ a: entry([1], 0, 4, 'F31') }, 4),
    'a dtype of every object': file({ a: entry([1], 0, 4, 'constructor') }, 4),
    'a negative size': file({ a: entry([-1, -1], 0, 4) }, 4),
    'a fraction': file({ a: entry([0.5, 2], 0, 4) }, 4),
    'a size beyond exact integers': file({ a: entry([2 ** 53], 0, 4) }, 4),
    'a shape that is no list': file({ a: entry(1, 0, 4) }, 4),
    'no offsets': file({ a: { dtype: 'F32', shape: [1] } }, 4),
    'an end before the beginning': file({ a: entry([1], 4, 0) }, 4),
    'an end beyond the file': file({ a: entry([2], 0, 8) }, 4),
    'bytes that do not fit the shape': file({ a: entry([2], 0, 4) }, 4),
    overlap: file({ a: entry([2], 0, 8), b: entry([1], 4, 8) }, 8),
    'the same bytes twice': file({ a: entry([1], 0, 4), b: entry([1], 0, 4) }, 4),
    'a gap': file({ a: entry([1], 0, 4), b: entry([1], 8, 12) }, 12),
    'bytes after the last tensor': file({ a: entry([1], 0, 4) }, 5),
    'metadata that is no text': file({ __metadata__: { a: 1 } }, 0),
    'a name twice': file(
      `{"a":${JSON.stringify(entry([1], 0, 4))},"\\u0061":${JSON.stringify(entry([1], 0, 4))}}`,
      4,
    ),
    'a field twice': file('{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}', 4),
  };
  test.each(Object.keys(broken))('%s is refused', async (name) => {
    expect(await codeOf(readHeader(broken[name]))).toBe('BAD_CHECKPOINT');
  });

  test('values named like fields are no duplicates', async () => {
    const header =
      '{"__metadata__":{"a":"b","b":"a \\" , \\"a"},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}';
    expect((await readHeader(file(header, 1))).metadata).toEqual({ a: 'b', b: 'a " , "a' });
  });

  test('any damage is refused or leaves a header that holds', async () => {
    const whole = Uint8Array.from(
      [...encodeTensors(example(), { a: 'b' })].flatMap((part) => [...part]),
    );
    const damage = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 4 });
    const length = fc.integer({ min: 0, max: whole.length + 8 });
    await fc.assert(
      fc.asyncProperty(damage, fc.option(length), async (changes, cut) => {
        const bytes = new Uint8Array(cut ?? whole.length);
        bytes.set(whole.subarray(0, bytes.length));
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        await holds(memory(bytes));
      }),
      { numRuns: 2000 },
    );
  });

  test('any header is refused or holds', async () => {
    const number = fc.oneof(fc.integer({ min: -1, max: 12 }), fc.double(), fc.constant(2 ** 53));
    const described = fc.record({
      dtype: fc.oneof(fc.constantFrom('F32', 'F16', 'U8', 'F4', 'I64'), fc.string()),
      shape: fc.oneof({ weight: 9, arbitrary: fc.array(number, { maxLength: 3 }) }, fc.anything()),
      data_offsets: fc.array(number, { minLength: 2, maxLength: 2 }),
    });
    const header = fc.dictionary(
      fc.oneof(fc.constantFrom('a', 'b', '__metadata__'), fc.string()),
      fc.oneof({ weight: 9, arbitrary: described }, fc.anything()),
      { maxKeys: 3 },
    );
    await fc.assert(
      fc.asyncProperty(header, fc.nat(12), (value, bytes) =>
        holds(
          file(
            JSON.stringify(value, (_, x: unknown) => (typeof x === 'bigint' ? 0 : x)),
            bytes,
          ),
        ),
      ),
      { numRuns: 1000 },
    );
  });

  /** Either `BAD_CHECKPOINT`, or entries that cover the data exactly once. */
  async function holds(source: Source): Promise<void> {
    let covered = 0;
    try {
      const { entries } = await readHeader(source);
      for (const { offset, bytes } of entries.values()) {
        expect(offset + bytes).toBeLessThanOrEqual(source.size);
        covered += bytes;
      }
    } catch (error) {
      expect(error).toMatchObject({ code: 'BAD_CHECKPOINT' });
      return;
    }
    const first = new DataView((await source.read(0, 8)).buffer).getBigUint64(0, true);
    expect(covered).toBe(source.size - 8 - Number(first));
  }
});

describe('shards', () => {
  const index = async (map: unknown): Promise<string> => {
    const path = await mkdtemp(join(folder, 'shards-'));
    const one = (name: string) => new Map([[name, hostTensor('f32', [2])]]);
    await writeSafetensors(join(path, 's1.safetensors'), one('a'));
    await writeSafetensors(join(path, 's2.safetensors'), one('b'));
    await writeFile(join(path, 'model.safetensors.index.json'), JSON.stringify(map));
    return path;
  };
  const open = async (path: string) => {
    await using files = await openTensors(await openFolder(path));
    return new Map([...files.entries].map(([name, { source }]) => [name, source.name]));
  };

  test('tensors come from the files the index names', async () => {
    const path = await index({ weight_map: { a: 's1.safetensors', b: 's2.safetensors' } });
    expect(await open(path)).toEqual(
      new Map([
        ['a', join(path, 's1.safetensors')],
        ['b', join(path, 's2.safetensors')],
      ]),
    );
  });

  test.each<[string, unknown]>([
    ['a tensor that is not in its shard', { weight_map: { a: 's2.safetensors' } }],
    ['a shard that is not there', { weight_map: { a: 's3.safetensors' } }],
    ['a shard outside the folder', { weight_map: { a: '../s1.safetensors' } }],
    ['no weight_map', {}],
    ['a weight_map that is no object', { weight_map: ['s1.safetensors'] }],
  ])('%s is refused', async (_, map) => {
    expect(await codeOf(open(await index(map)))).toBe('BAD_CHECKPOINT');
  });

  test('a folder without weights is refused', async () => {
    expect(await codeOf(open(await mkdtemp(join(folder, 'empty-'))))).toBe('FILE_NOT_FOUND');
  });
});

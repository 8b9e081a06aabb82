import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Backend } from '../backend.ts';
import { reference } from '../backends/reference/index.ts';
import type { WeightType } from './convert.ts';
import { quantize } from '../quantize/quantize.ts';
import { codeOf } from '../../test/support/code-of.ts';
import {
  loadCheckpoint,
  hashCheckpoint,
  isCheckpoint,
  sampleCheckpoint,
} from '../../test/support/by-path.ts';

const source = fileURLToPath(new URL('../../test/data/parity/llama-bias', import.meta.url));
let folder: string;
let whole: string;
let backend: Backend;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quantized-'));
  whole = join(folder, 'whole');
  backend = await reference.open({});
  await quantize(source, { bits: 4, output: whole, backend: 'reference' });
});
afterAll(() => rm(folder, { recursive: true }));

interface Stored {
  dtype: string;
  shape: number[];
  data_offsets: number[];
}
type Header = Record<string, Stored> & { __metadata__: Record<string, string> };

/** A copy of the folder with its header, the bytes after it, or its configuration changed. */
async function variant(change: {
  header?: (header: Header) => void;
  bytes?: (bytes: Buffer, header: Header) => Buffer;
  config?: (json: Record<string, unknown>) => void;
}): Promise<string> {
  const path = await mkdtemp(join(folder, 'variant-'));
  await cp(whole, path, { recursive: true });
  const file = join(path, 'model.safetensors');
  const bytes = await readFile(file);
  const length = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Header;
  change.header?.(header);
  const data = bytes.subarray(8 + length);
  const kept = change.bytes?.(Buffer.from(data), header) ?? data;
  const text = JSON.stringify(header);
  const padded = text.padEnd(Math.ceil((8 + text.length) / 64) * 64 - 8);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(padded.length));
  await writeFile(file, Buffer.concat([prefix, Buffer.from(padded), kept]));
  if (change.config) {
    const json = JSON.parse(await readFile(join(path, 'config.json'), 'utf8')) as object;
    change.config(json as Record<string, unknown>);
    await writeFile(join(path, 'config.json'), JSON.stringify(json));
  }
  return path;
}

const up = 'layers.1.mlp.upProj';
const down = 'layers.1.mlp.downProj';
const asks = (json: Record<string, unknown>): Record<string, unknown> =>
  json.quantization_config as Record<string, unknown>;

/** Give a tensor's name to another, and the other way round: everything else stays in place. */
function swap(header: Header, a: string, b: string): void {
  [header[a], header[b]] = [header[b], header[a]];
}

describe('a folder is refused that', () => {
  const cases: [string, string, Parameters<typeof variant>[0]][] = [
    ['is cut off', 'BAD_CHECKPOINT', { bytes: (bytes) => bytes.subarray(0, -64) }],
    [
      'is of a later version',
      'BAD_CHECKPOINT',
      { header: ({ __metadata__: about }) => void (about.version = '2') },
    ],
    [
      'has groups of another size',
      'BAD_CHECKPOINT',
      { header: ({ __metadata__: about }) => void (about.group = '64') },
    ],
    [
      'has groups of a size that is none',
      'BAD_CHECKPOINT',
      { header: ({ __metadata__: about }) => void (about.group = '48') },
    ],
    [
      'has zero points, it says, and has not',
      'BAD_CHECKPOINT',
      { header: ({ __metadata__: about }) => void (about.zero_point = 'true') },
    ],
    [
      'does not say clearly whether it has zero points',
      'BAD_CHECKPOINT',
      { header: ({ __metadata__: about }) => void (about.zero_point = 'maybe') },
    ],
    [
      'has 8 bits and zero points',
      'BAD_CHECKPOINT',
      {
        header: ({ __metadata__: about }) => void ((about.bits = '8'), (about.zero_point = 'true')),
      },
    ],
    [
      'has groups that its rows are too short for',
      'BAD_SHAPE',
      {
        header: ({ __metadata__: about }) => {
          about.zero_point = 'true';
          about.dtypes = about.dtypes.replaceAll('"int4"', '"int4z"');
        },
      },
    ],
    [
      'has another number of bits',
      'BAD_CHECKPOINT',
      { header: ({ __metadata__: about }) => void (about.bits = '3') },
    ],
    [
      'does not say what it was made from',
      'BAD_CHECKPOINT',
      { header: ({ __metadata__: about }) => void delete about.source },
    ],
    [
      'has no types',
      'BAD_CHECKPOINT',
      { header: ({ __metadata__: about }) => void (about.dtypes = '{') },
    ],
    [
      'has a type that is none',
      'BAD_CHECKPOINT',
      { header: ({ __metadata__: about }) => void (about.dtypes = '{"embedding":"int3"}') },
    ],
    [
      'lacks the type of a weight',
      'MISSING_TENSOR',
      { header: ({ __metadata__: about }) => void (about.dtypes = '{"embedding":"int8"}') },
    ],
    [
      'has a quantized norm',
      'BAD_CHECKPOINT',
      {
        header: ({ __metadata__: about }) =>
          void (about.dtypes = about.dtypes.replace('"finalNorm":"f32"', '"finalNorm":"int8"')),
      },
    ],
    [
      'lacks a weight',
      'MISSING_TENSOR',
      {
        header: (header) => {
          header.other = header[up];
          delete (header as Partial<Header>)[up];
        },
      },
    ],
    [
      'lacks sums of squares',
      'MISSING_TENSOR',
      {
        header: (header) => {
          header.other = header[`${down}.squares`];
          delete (header as Partial<Header>)[`${down}.squares`];
        },
      },
    ],
    [
      'has a weight of another type than it says',
      'BAD_SHAPE',
      {
        header: ({ __metadata__: about }) =>
          void (about.dtypes = about.dtypes.replace(`"${up}":"int4"`, `"${up}":"int8"`)),
      },
    ],
    [
      'has a weight of another shape',
      'BAD_SHAPE',
      { header: (header) => swap(header, up, 'layers.1.attention.qProj') },
    ],
    [
      'has a weight that begins in an odd place',
      'BAD_CHECKPOINT',
      {
        header: (header) => {
          const stored = Object.entries<Stored>(header as Record<string, Stored>).filter(
            ([key]) => key !== '__metadata__',
          );
          for (const [, { data_offsets: offsets }] of stored) {
            offsets[0] += 4;
            offsets[1] += 4;
          }
          header.first = { dtype: 'U8', shape: [4], data_offsets: [0, 4] };
        },
        bytes: (bytes) => Buffer.concat([Buffer.alloc(4), bytes]),
      },
    ],
    [
      'has sums of squares that are none',
      'BAD_CHECKPOINT',
      {
        bytes: (bytes, header) => {
          bytes.writeDoubleLE(-1, header[`${down}.squares`].data_offsets[0]);
          return bytes;
        },
      },
    ],
    [
      'has a configuration that knows nothing of it',
      'BAD_CHECKPOINT',
      { config: (json) => void delete json.quantization_config },
    ],
    [
      'says that it is quantized and is not',
      'BAD_CHECKPOINT',
      { header: ({ __metadata__: about }) => void delete about.format },
    ],
    [
      'was quantized by others, in a form that is not read',
      'BAD_CONFIG',
      { config: (json) => void (asks(json).quant_method = 'hqq') },
    ],
    [
      'has the configuration of another model',
      'BAD_SHAPE',
      { config: (json) => void (json.intermediate_size = 192) },
    ],
  ];
  test.each(cases)('%s', async (_what, code, change) => {
    expect(await codeOf(loadCheckpoint(await variant(change), backend))).toBe(code);
  });

  test('nothing, when nothing was changed', async () => {
    expect(await codeOf(loadCheckpoint(await variant({}), backend))).toBe('none');
  });

  test('nothing, when it is of a build that knew no zero points', async () => {
    const path = await variant({
      header: ({ __metadata__: about }) => void delete about.zero_point,
      config: (json) => void delete asks(json).zero_point,
    });
    const { dtype } = await loadCheckpoint(path, backend);
    expect(dtype).toBe('int4');
  });
});

test('weights keep their type or are decoded; nothing else is taken', async () => {
  const types = (weights?: 'auto' | WeightType) =>
    loadCheckpoint(whole, backend, weights && { weights }).then(({ dtype, weights: held }) => [
      dtype,
      held.get('embedding').dtype,
      held.get(up).dtype,
    ]);
  expect(await types()).toEqual(['int4', 'int8', 'int4']);
  expect(await types('auto')).toEqual(['int4', 'int8', 'int4']);
  expect(await types('int4')).toEqual(['int4', 'int8', 'int4']);
  expect(await types('f32')).toEqual(['f32', 'f32', 'f32']);
  expect(await types('f16')).toEqual(['f16', 'f16', 'f16']);
  expect(await codeOf(types('int8'))).toBe('BAD_REQUEST');
  expect(await codeOf(types('int4g64'))).toBe('BAD_REQUEST');
});

test('what does not fit is refused before anything is allocated', async () => {
  const { weightBytes } = await loadCheckpoint(whole, backend);
  const none = Object.create(backend, {
    allocate: { value: () => expect.fail('it was allocated') },
  }) as Backend;
  expect(await codeOf(loadCheckpoint(whole, none, { memoryLimit: weightBytes - 1 }))).toBe(
    'OUT_OF_MEMORY',
  );
});

test('it goes by its own hash and by that of its source', async () => {
  const identities = async (path: string) => {
    const modelHash = await hashCheckpoint(path);
    return [{ modelHash }, { modelHash, modelSample: await sampleCheckpoint(path) }];
  };
  for (const identity of await identities(source)) {
    expect(await isCheckpoint(whole, identity)).toBe(true);
    expect(await isCheckpoint(source, identity)).toBe(true);
  }
  for (const identity of await identities(whole)) {
    expect(await isCheckpoint(whole, identity)).toBe(true);
    expect(await isCheckpoint(source, identity)).toBe(false);
  }
});

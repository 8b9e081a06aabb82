import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { asGguf } from '../../../test/support/as-gguf.ts';
import { codeOf } from '../../../test/support/code-of.ts';
import { encodeGguf } from '../../../test/support/gguf-file.ts';
import type { Backend } from '../../backend.ts';
import { openBackend } from '../../backends/index.ts';
import { Engine } from '../../engine/local.ts';
import type { Description } from '../../model.ts';
import type { Checkpoint } from '../checkpoint.ts';
import { openFile } from '../fs.ts';
import { readGguf } from './reader.ts';
import { loadCheckpoint, hashCheckpoint } from '../../../test/support/by-path.ts';

const parity = fileURLToPath(new URL('../../../test/data/parity/', import.meta.url));
let folder: string;
let backend: Backend;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gguf-'));
  backend = (await openBackend('reference', {})).backend;
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await backend[Symbol.asyncDispose]();
});

/** The GGUF file of a parity checkpoint. */
async function converted(name: string, from = `${parity}${name}`): Promise<string> {
  const path = join(folder, `${name}.gguf`);
  writeFileSync(path, await asGguf(from));
  return path;
}

/** Every weight and constant, as bytes. */
async function contents({ family, config, weights }: Checkpoint): Promise<Map<string, Uint8Array>> {
  const names = [...Object.keys(family.weights(config)), ...Object.keys(family.constants(config))];
  const found = names.map((name) => [name, weights.find(name)] as const);
  const all = new Map<string, Uint8Array>();
  for (const [name, tensor] of found) if (tensor) all.set(name, (await backend.read([tensor]))[0]);
  return all;
}

async function expectSame(
  original: string,
  file: string,
  differs: Partial<Description> = {},
): Promise<void> {
  const [folderOf, fileOf] = [
    await loadCheckpoint(original, backend),
    await loadCheckpoint(file, backend),
  ];
  expect(fileOf.description).toEqual({ ...folderOf.description, ...differs });
  expect(fileOf.weightBytes).toBe(folderOf.weightBytes);
  const [expected, made] = [await contents(folderOf), await contents(fileOf)];
  expect([...made.keys()]).toEqual([...expected.keys()]);
  for (const [name, bytes] of expected)
    expect(Buffer.compare(made.get(name)!, bytes), name).toBe(0);
  if (Object.keys(differs).length === 0) expect(await logits(file)).toEqual(await logits(original));
}

/** What no weight shows: sizes of steps, order of operations. */
async function logits(model: string): Promise<Float32Array> {
  await using engine = await Engine.open(model, { backend: 'reference', sparsity: 'dense' });
  using session = engine.session();
  return await session.prefill(Int32Array.of(5, 17, 9, 100, 61));
}

describe('a checkpoint and its GGUF file are the same model:', () => {
  test.each([
    ...['bloom', 'falcon-7b', 'falcon-40b', 'gpt-neox', 'gpt2'],
    ...['llama', 'llama-gqa-tied', 'llama-bias', 'mistral-window', 'mpt'],
    ...['qwen2', 'qwen3', 'llama-yarn'],
  ])('%s', async (name) => {
    await expectSame(`${parity}${name}`, await converted(name));
  });

  test('falcon-one-norm, whose activation GGUF has no word for', async () => {
    const path = await converted('falcon-one-norm');
    await expectSame(`${parity}falcon-one-norm`, path, { activation: 'gelu' });
  });

  test('llama3-rope, whose factors must be those of Llama 3.1', async () => {
    const original = join(folder, 'llama3');
    cpSync(`${parity}llama3-rope`, original, { recursive: true });
    const config = readFileSync(`${original}/config.json`, 'utf8');
    const published = config.replace(
      /"original_max_position_embeddings": 64/,
      '"original_max_position_embeddings": 8192',
    );
    writeFileSync(`${original}/config.json`, published);
    await expectSame(original, await converted('llama3', original));
    const other = await converted('llama3-rope');
    expect(await codeOf(loadCheckpoint(other, backend))).toBe('BAD_CONFIG');
  });
});

test('shards are one model', async () => {
  const whole = await converted('llama');
  const shards = join(folder, 'shards');
  mkdirSync(shards);
  const bytes = readFileSync(whole);
  const split = (no: number): string => join(shards, `m-0000${no + 1}-of-00002.gguf`);
  const meta = (no: number): [string, { type: number; value: number }][] => [
    ['split.no', { type: 2, value: no }],
    ['split.count', { type: 2, value: 2 }],
  ];
  await using source = await openFile(whole);
  const { tensors, metadata } = await readGguf(source);
  const all = [...tensors.values()].map(({ name, shape, offset, bytes: length }) => ({
    ...{ name, shape, type: 0, bytes: bytes.subarray(offset, offset + length) },
  }));
  const kept = [...metadata].map(([key, value]) => [key, value as number | string] as const);
  const typed = kept.map(
    ([key, value]) =>
      [key, Number.isInteger(value) || typeof value === 'string' ? value : { type: 12, value: Number(value) }] as const,
  ); // prettier-ignore
  writeFileSync(
    split(0),
    encodeGguf({ metadata: [...typed, ...meta(0)], tensors: all.slice(0, 9) }),
  );
  writeFileSync(split(1), encodeGguf({ metadata: meta(1), tensors: all.slice(9) }));
  await expectSame(`${parity}llama`, split(0));

  expect(await codeOf(loadCheckpoint(split(1), backend))).toBe('BAD_CHECKPOINT');
  writeFileSync(split(1), encodeGguf({ metadata: meta(0), tensors: all.slice(9) }));
  expect(await codeOf(loadCheckpoint(split(0), backend))).toBe('BAD_CHECKPOINT');
  writeFileSync(split(1), encodeGguf({ metadata: meta(1), tensors: all.slice(8) }));
  expect(await codeOf(loadCheckpoint(split(0), backend))).toBe('BAD_CHECKPOINT');
  rmSync(split(1));
  expect(await codeOf(loadCheckpoint(split(0), backend))).toBe('FILE_NOT_FOUND');
});

test('its hash is that of its bytes, whatever its name', async () => {
  const path = await converted('llama');
  const hash = await hashCheckpoint(path);
  const renamed = join(folder, 'renamed.gguf');
  cpSync(path, renamed);
  expect(await hashCheckpoint(renamed)).toBe(hash);
  const bytes = readFileSync(path);
  bytes[bytes.length - 40] ^= 1;
  writeFileSync(renamed, bytes);
  expect(await hashCheckpoint(renamed)).not.toBe(hash);
});

describe('refused:', () => {
  const written = (file: Parameters<typeof encodeGguf>[0]): string => {
    const path = join(folder, 'refused.gguf');
    writeFileSync(path, encodeGguf(file));
    return path;
  };
  const table = { name: 'token_embd.weight', shape: [4, 32], type: 0, bytes: new Uint8Array(512) };

  test.each<[what: string, code: string, file: Parameters<typeof encodeGguf>[0]]>([
    ['no architecture', 'BAD_CONFIG', {}],
    ['an unknown one', 'UNKNOWN_FAMILY', { metadata: [['general.architecture', 'mamba']] }],
    ['a vocabulary alone', 'MISSING_TENSOR', { metadata: [['general.architecture', 'llama']] }],
    [
      'no widths',
      'BAD_CONFIG',
      { metadata: [['general.architecture', 'llama']], tensors: [table] },
    ],
  ])('%s', async (_, code, file) => {
    expect(await codeOf(loadCheckpoint(written(file), backend))).toBe(code);
  });

  test.each<[string, string, [string, string | number | { type: number; value: number }][]]>([
    ['experts', 'BAD_CONFIG', [['llama.expert_count', 8]]],
    ['heads that are no number', 'BAD_CONFIG', [['llama.attention.head_count', 'four']]],
    ['a negative width', 'BAD_CONFIG', [['llama.embedding_length', -64]]],
    ['a part of each head rotated', 'BAD_CONFIG', [['llama.rope.dimension_count', 8]]],
    ['a scaling that is not computed', 'BAD_CONFIG', [['llama.rope.scaling.type', 'longrope']]],
    ['more layers than there are', 'MISSING_TENSOR', [['llama.block_count', 4]]],
    ['another width', 'BAD_SHAPE', [['llama.feed_forward_length', 256]]],
  ])('%s', async (_, code, changes) => {
    const path = await converted('llama');
    await using source = await openFile(path);
    const { tensors, metadata } = await readGguf(source);
    const bytes = readFileSync(path);
    const changed = new Map<string, unknown>([...metadata, ...changes]);
    const file = encodeGguf({
      metadata: [...changed].map(([key, value]) => {
        if (typeof value === 'number' && !Number.isInteger(value))
          return [key, { type: 6, value }] as const;
        return [key, value as number] as const;
      }),
      tensors: [...tensors.values()].map(({ name, shape, offset, bytes: length }) => ({
        ...{ name, shape, type: 0, bytes: bytes.subarray(offset, offset + length) },
      })),
    });
    writeFileSync(path, file);
    expect(await codeOf(loadCheckpoint(path, backend))).toBe(code);
  });
});

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { asGguf } from '../../test/support/as-gguf.ts';
import type { Entry } from './entry.ts';
import { openFolder } from './fs.ts';
import { openGguf } from './gguf/open.ts';
import { openTensors } from './safetensors.ts';
import { hashCheckpoint, isCheckpoint, sampleCheckpoint } from '../../test/support/by-path.ts';

const parity = fileURLToPath(new URL('../../test/data/parity/llama', import.meta.url));
const temporary = mkdtempSync(join(tmpdir(), 'identity-'));
const folder = join(temporary, 'llama');
const gguf = join(temporary, 'llama.gguf');
beforeAll(async () => {
  cpSync(parity, folder, { recursive: true });
  writeFileSync(gguf, await asGguf(parity));
});
afterAll(() => rmSync(temporary, { recursive: true }));

type Place = Pick<Entry, 'offset' | 'bytes'>;
const formats: [string, path: string, file: string, places: () => Promise<Place[]>][] = [
  [
    'a folder',
    folder,
    join(folder, 'model.safetensors'),
    async () => {
      await using files = await openTensors(await openFolder(folder));
      return [...files.entries.values()];
    },
  ],
  [
    'a GGUF file',
    gguf,
    gguf,
    async () => {
      await using opened = await openGguf(await openFolder(temporary), 'llama.gguf');
      return [...opened.tensors.values()];
    },
  ],
];

describe.each(formats)('samples of %s', (_, path, file, places) => {
  /** With one byte of the file changed. */
  async function changed<T>(at: number, look: () => Promise<T>): Promise<T> {
    const bytes = readFileSync(file);
    bytes[at] ^= 1;
    writeFileSync(file, bytes);
    try {
      return await look();
    } finally {
      bytes[at] ^= 1;
      writeFileSync(file, bytes);
    }
  }

  test('say their scheme, and are the same every time', async () => {
    const sample = await sampleCheckpoint(path);
    expect(sample).toMatch(/^sampled-1:[0-9a-f]{64}$/);
    expect(await sampleCheckpoint(path)).toBe(sample);
  });

  test('see every tensor, at both ends and in between', async () => {
    const sample = await sampleCheckpoint(path);
    const look = (): Promise<string> => sampleCheckpoint(path);
    const all = await places();
    expect(all.some(({ bytes }) => bytes > 2 ** 14)).toBe(true);
    for (const { offset, bytes } of all) {
      const third = Math.floor((bytes - 4096) / 3);
      for (const at of [0, ...(bytes > 2 ** 14 ? [third, 2 * third + 4095] : []), bytes - 1])
        expect(await changed(offset + at, look)).not.toBe(sample);
    }
  });

  test('miss what lies between, which the hash of all does not', async () => {
    const [sample, hash] = [await sampleCheckpoint(path), await hashCheckpoint(path)];
    const { offset } = (await places()).find(({ bytes }) => bytes > 2 ** 15)!;
    const unseen = offset + 4096;
    expect(await changed(unseen, () => sampleCheckpoint(path))).toBe(sample);
    expect(await changed(unseen, () => hashCheckpoint(path))).not.toBe(hash);
  });

  test('decide, where there are any of a known scheme; else all bytes do', async () => {
    const modelSample = await sampleCheckpoint(path);
    const modelHash = await hashCheckpoint(path);
    const other = '0'.repeat(64);
    const is = (identity: Parameters<typeof isCheckpoint>[1]): Promise<boolean> =>
      isCheckpoint(path, identity);
    expect(await is({ modelHash: other, modelSample })).toBe(true);
    expect(await is({ modelHash, modelSample: `sampled-1:${other}` })).toBe(false);
    expect(await is({ modelHash })).toBe(true);
    expect(await is({ modelHash: other })).toBe(false);
    expect(await is({ modelHash, modelSample: `sampled-2:${other}` })).toBe(true);
    expect(await is({ modelHash: other, modelSample: `sampled-2:${other}` })).toBe(false);
  });
});

test('samples see the configuration', async () => {
  const sample = await sampleCheckpoint(folder);
  const file = join(folder, 'config.json');
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, `${text} `);
  expect(await sampleCheckpoint(folder)).not.toBe(sample);
  writeFileSync(file, text);
});

test('samples of a GGUF file do not see its name', async () => {
  const renamed = join(temporary, 'renamed.gguf');
  cpSync(gguf, renamed);
  expect(await sampleCheckpoint(renamed)).toBe(await sampleCheckpoint(gguf));
});

import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { codeOf } from '../../test/support/code-of.ts';
import type { Folder } from '../source.ts';
import { blobFolder } from './blob.ts';
import { openFolder } from './fs.ts';
import { httpFolder } from './http.ts';
import { hashCheckpoint, sampleCheckpoint } from './identity.ts';
import { memoryFolder } from './memory.ts';
import { filesOf } from './names.ts';

const path = fileURLToPath(new URL('../../test/data/parity/llama', import.meta.url));
const names = readdirSync(path).filter((name) => /^(config\.json|model\.safetensors)$/.test(name));
const contents = Object.fromEntries(names.map((name) => [name, readFileSync(`${path}/${name}`)]));

/** A server of these files, for as long as `use` runs. */
async function served<T>(answer: RequestListener, use: (url: string) => Promise<T>): Promise<T> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}/models/llama`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** As servers of files answer: with the range that is asked for, of what `file` has now. */
const ranges =
  (file = (name: string): Uint8Array | undefined => contents[name]): RequestListener =>
  ({ url, headers }, response) => {
    const bytes = file(/^\/models\/llama\/(.*)$/.exec(url ?? '')?.[1] ?? '');
    if (!bytes) return void response.writeHead(404).end();
    const [from, to] = /^bytes=(\d+)-(\d+)$/
      .exec(headers.range ?? '')!
      .slice(1)
      .map(Number);
    const size = bytes.length;
    if (from >= size)
      return void response.writeHead(416, { 'content-range': `bytes */${size}` }).end();
    const part = bytes.subarray(from, to + 1);
    response.writeHead(206, {
      'content-range': `bytes ${from}-${from + part.length - 1}/${size}`,
    });
    response.end(part);
  };

const blobs = Object.fromEntries(names.map((name) => [name, new Blob([contents[name]])]));
const places: [string, (use: (folder: Folder) => Promise<void>) => Promise<void>][] = [
  ['on disk', async (use) => await use(await openFolder(path))],
  ['in memory', async (use) => await use(memoryFolder(contents))],
  ['of Blobs', async (use) => await use(blobFolder(blobs))],
  [
    'below a URL',
    async (use) => await served(ranges(), async (url) => await use(httpFolder(url, names))),
  ],
];

describe.each(places)('a folder %s', (_, within) => {
  test('has its files by name', async () => {
    await within(async (folder) => {
      expect(folder.files.filter((file) => names.includes(file))).toEqual([...names].sort());
      expect(await codeOf(folder.open('absent.json'))).toBe('FILE_NOT_FOUND');
    });
  });

  test('reads exactly what is asked for, into buffers of their own', async () => {
    await within(async (folder) => {
      const all = contents['config.json'];
      await using source = await folder.open('config.json');
      expect(source.size).toBe(all.length);
      for (const [offset, length] of [
        [0, all.length],
        [3, 5],
        [all.length - 1, 1],
        [7, 0],
      ]) {
        const bytes = await source.read(offset, length);
        expect([bytes.byteOffset, bytes.buffer.byteLength]).toEqual([0, length]);
        expect([...bytes]).toEqual([...all.subarray(offset, offset + length)]);
        bytes.fill(0);
      }
      expect([...(await source.read(0, 4))]).toEqual([...all.subarray(0, 4)]);
      expect(await codeOf(source.read(all.length - 1, 2))).toBe('BAD_CHECKPOINT');
    });
  });

  test('is the same model by its hash and samples', async () => {
    const disk = filesOf(await openFolder(path));
    await within(async (folder) => {
      expect(await hashCheckpoint(filesOf(folder))).toBe(await hashCheckpoint(disk));
      expect(await sampleCheckpoint(filesOf(folder))).toBe(await sampleCheckpoint(disk));
    });
  });
});

describe('below a URL', () => {
  const refusal = async (answer: RequestListener): Promise<{ code: string; message: string }> =>
    await served(answer, async (url) => {
      await using source = await httpFolder(url, names).open('config.json');
      await source.read(2, 4);
      return { code: 'none', message: '' };
    }).catch((error: { code: string; message: string }) => error);

  test.each<[string, RequestListener, string, RegExp]>([
    [
      'a server that answers no ranges',
      (_, response) => void response.end(contents['config.json']),
      'BAD_CHECKPOINT',
      /is 200 without a Content-Range .* expected 206/,
    ],
    [
      'an answer that does not say its size',
      (_, response) => void response.writeHead(206).end('{'),
      'BAD_CHECKPOINT',
      /is 206 without a Content-Range .* expose Content-Range/,
    ],
    [
      'a file that is not there',
      (_, response) => void response.writeHead(404).end(),
      'FILE_NOT_FOUND',
      /config\.json: the server answers 404/,
    ],
    [
      'a connection that breaks',
      (_, response) => void response.destroy(),
      'FILE_NOT_FOUND',
      /config\.json: cannot be fetched/,
    ],
    [
      'a file that becomes another one',
      ((count = 0): RequestListener =>
        ranges((name) => contents[name].subarray(0, 50 - count++)))(),
      'BAD_CHECKPOINT',
      /4 bytes of 49 came for 4 of 50/,
    ],
  ])('%s is refused', async (_, answer, code, message) => {
    const error = await refusal(answer);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  test('an empty file is one', async () => {
    await served(
      ranges(() => new Uint8Array(0)),
      async (url) => {
        await using source = await httpFolder(url, ['a b.txt']).open('a b.txt');
        expect([source.size, (await source.read(0, 0)).length]).toEqual([0, 0]);
        expect(source.name).toMatch(/\/models\/llama\/a%20b\.txt$/);
      },
    );
  });

  test('what is aborted ends with the reason that was given', async () => {
    const reason = new Error('enough');
    const signal = AbortSignal.abort(reason);
    const folder = httpFolder('http://127.0.0.1:1/', names, { signal });
    await expect(folder.open('config.json')).rejects.toBe(reason);
  });
});

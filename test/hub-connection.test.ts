/** Connections that break and servers that are not to be trusted; a server on this machine stands in for the hub. */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { pull } from '../src/hub/pull.ts';
import {
  blob,
  bytes,
  config,
  files,
  folder,
  hub,
  name,
  server,
  snapshot,
  stopHub,
  tree,
  weights,
  weightsFile,
} from './support/hub-cache.ts';
import { commit, gitHash, type ListEntry, sha256 } from './support/hub-server.ts';

describe('a connection that breaks', () => {
  test('is taken up where it broke: no byte comes twice', async () => {
    const faults = [1000, 3000].map((after) => ({
      file: weightsFile,
      after,
      how: 'break' as const,
    }));
    const notes: string[] = [];
    const options = await hub({ faults });
    const { path } = await pull(name, { ...options, onNote: (line) => notes.push(line) });
    expect(server!.of(weightsFile).map(({ range, sent }) => [range, sent])).toEqual([
      [undefined, 1000],
      ['bytes=1000-', 3000],
      ['bytes=4000-', weights.length - 4000],
    ]);
    expect(notes).toHaveLength(2);
    expect(readFileSync(join(path, weightsFile)).equals(weights)).toBe(true);
  });

  test('more often than it may bring nothing is no matter while it brings something', async () => {
    const fault = { file: weightsFile, after: 100, how: 'break' as const };
    await pull(name, await hub({ faults: Array.from({ length: 8 }, () => fault) }));
    expect(server!.of(weightsFile).at(-1)!.range).toBe('bytes=800-');
  });

  test('an answer that ends early, as if it were whole', async () => {
    await pull(name, await hub({ faults: [{ file: weightsFile, after: 1000, how: 'end' }] }));
    expect(server!.of(weightsFile).at(-1)!.range).toBe('bytes=1000-');
  });

  test('of a small file, and a busy server, likewise', async () => {
    const faults = [{ file: 'config.json', after: 10, how: 'break' as const }];
    await pull(name, await hub({ faults, statuses: [503, 429] }));
    expect(server!.of('config.json').map(({ range }) => range)).toEqual([undefined, 'bytes=10-']);
  });

  test('that brings nothing five times ends the work; what came is kept for the next', async () => {
    const faults = [1000, 0, 0, 0, 0, 0].map((after) => ({
      ...{ file: weightsFile, after, how: 'break' as const },
    }));
    const options = await hub({ faults });
    await expect(pull(name, options)).rejects.toMatchObject({ code: 'HUB_UNREACHABLE' });
    expect(statSync(`${blob(weights)}.incomplete`).size).toBe(1000);
    expect(existsSync(join(folder(), 'refs/main'))).toBe(false);
    await expect(pull(name, { ...options, offline: true })).rejects.toMatchObject({
      code: 'NOT_CACHED',
    });
    server!.seen.length = 0;
    await pull(name, { ...options });
    const last = server!.of(weightsFile).at(-1)!;
    expect([last.range, last.sent]).toEqual(['bytes=1000-', weights.length - 1000]);
    expect(readFileSync(blob(weights)).equals(weights)).toBe(true);
  });

  test('to a server without ranges starts over', async () => {
    const faults = [{ file: weightsFile, after: 1000, how: 'break' as const }];
    await pull(name, await hub({ faults, whole: true }));
    expect(server!.of(weightsFile).map(({ sent }) => sent)).toEqual([1000, weights.length]);
    expect(readFileSync(blob(weights)).equals(weights)).toBe(true);
  });

  test('nobody listens', async () => {
    const options = await hub();
    await stopHub();
    await expect(pull(name, options)).rejects.toMatchObject({
      code: 'HUB_UNREACHABLE',
      message: expect.stringContaining('ECONNREFUSED') as string,
    });
  });

  test('an interruption keeps the finished part', async () => {
    const options = await hub({ faults: [{ file: weightsFile, after: 2000, how: 'hang' }] });
    const stop = new AbortController();
    const before = config.length + 2;
    const work = pull(name, {
      ...options,
      signal: stop.signal,
      onProgress: (done) => done === before + 2000 && stop.abort(),
    });
    await expect(work).rejects.toThrow();
    expect(statSync(`${blob(weights)}.incomplete`).size).toBe(2000);
    await pull(name, options);
    expect(server!.of(weightsFile).at(-1)!.range).toBe('bytes=2000-');
  });
});

describe('what a server sends is not trusted', () => {
  const changed = (at: number): Uint8Array =>
    weights.map((byte, i) => (i === at ? byte ^ 1 : byte));

  test.each([
    ['large', weightsFile, changed(5000)],
    ['small', 'config.json', config.map((byte) => byte ^ 1)],
  ])('a wrong byte of a %s file: refused, and nothing left', async (_, file, sent) => {
    await expect(pull(name, await hub({ wrong: { [file]: sent } }))).rejects.toMatchObject({
      code: 'BAD_DOWNLOAD',
      message: expect.stringContaining(`${file}: `) as string,
    });
    expect(existsSync(join(snapshot(), file))).toBe(false);
    const left = [sha256(files[file as keyof typeof files]), gitHash(sent), sha256(sent)];
    expect(tree().filter((found) => left.some((hash) => found.startsWith(hash)))).toEqual([]);
    expect(existsSync(join(folder(), 'refs/main'))).toBe(false);
  });

  test('a wrong part that another run left is thrown away, once', async () => {
    const options = await hub();
    mkdirSync(dirname(blob(weights)), { recursive: true });
    writeFileSync(`${blob(weights)}.incomplete`, changed(10).subarray(0, 2000));
    await pull(name, options);
    expect(server!.of(weightsFile).map(({ range }) => range)).toEqual(['bytes=2000-', undefined]);
    expect(readFileSync(blob(weights)).equals(weights)).toBe(true);
  });

  test('more bytes than are listed', async () => {
    const long = new Uint8Array(weights.length + 1);
    await expect(pull(name, await hub({ wrong: { [weightsFile]: long } }))).rejects.toMatchObject({
      code: 'BAD_DOWNLOAD',
      message: expect.stringContaining('more bytes come') as string,
    });
    expect(existsSync(blob(weights))).toBe(false);
  });

  test('a file larger than the disk is not begun', async () => {
    const options = await hub({
      list: (entries) =>
        entries.map((entry) =>
          entry.lfs ? { ...entry, lfs: { ...entry.lfs, size: 2 ** 52 } } : entry,
        ),
    });
    await expect(pull(name, options)).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(tree()).toEqual([]);
  });

  test.each([
    '../../../escaped.gguf',
    '/tmp/escaped.gguf',
    'a\\..\\escaped.gguf',
    'c:escaped.gguf',
  ])('a file named %s', async (path) => {
    const options = await hub({
      files: { 'model.gguf': bytes('x') },
      list: (entries) => entries.map((entry) => ({ ...entry, path })),
    });
    await expect(pull(name, options)).rejects.toMatchObject({
      code: 'BAD_DOWNLOAD',
      message: expect.stringContaining('out of the cache') as string,
    });
    expect(tree()).toEqual([]);
  });

  test.each([
    ['small', (entry: ListEntry) => ({ ...entry, oid: '../../../../escaped' })],
    [
      'large',
      ({ lfs, ...entry }: ListEntry) => ({
        ...entry,
        ...(lfs && { lfs: { ...lfs, oid: '../../../../escaped' } }),
      }),
    ],
  ])('a hash of a %s file that is a path', async (_, change) => {
    const options = await hub({ list: (entries) => entries.map(change) });
    await expect(pull(name, options)).rejects.toMatchObject({ code: 'BAD_DOWNLOAD' });
    expect(server!.seen.every(({ path }) => path.startsWith('/api/'))).toBe(true);
  });

  test('redirects without end', async () => {
    const redirect = `/${name}/resolve/${commit}/${weightsFile}?`;
    await expect(pull(name, await hub({ redirect }))).rejects.toMatchObject({
      code: 'HUB_UNREACHABLE',
      message: expect.stringContaining('more than 5 times') as string,
    });
    expect(server!.seen.filter(({ path }) => path.includes(weightsFile))).toHaveLength(6);
  });
});

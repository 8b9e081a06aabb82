import { join } from 'node:path';
import { EngineError } from '../errors.ts';
import { fileExists, folderExists, openFolder } from '../loaders/fs.ts';
import { readJsonFile } from '../loaders/json.ts';
import { readFamily } from '../loaders/open.ts';
import {
  cachedRepository,
  type CachedRepository,
  expectRoom,
  linkBlob,
  readRef,
  sizeOf,
  snapshotFiles,
  writeRef,
} from './cache.ts';
import { type Choice, chooseFiles, indexFile } from './choose.ts';
import { Connection, type ConnectionOptions } from './connection.ts';
import { downloadBlob, incomplete } from './download.ts';
import { expectHubId, expectInside, type HubId, parseHubId } from './id.ts';
import { findCommit, type HubFile, listRepository } from './repository.ts';

const configFile = 'config.json';

/** What to fetch, from where, into which cache. */
export interface PullOptions extends ConnectionOptions {
  /** Branch, tag or commit. Default: the id's, else `main`. */
  readonly revision?: string;
  /** Which GGUF file: a name, a pattern with `*`, or a word of it such as `Q4_K_M`. Default: the id's. */
  readonly file?: string;
  /** The cache's folder. Default: HF_HUB_CACHE, `hub` in HF_HOME, or ~/.cache/huggingface/hub. */
  readonly cache?: string;
  /** Take what the cache has and ask nobody. */
  readonly offline?: boolean;
  /** Bytes of all files that are there, of how many, and the file that is coming. */
  readonly onProgress?: (bytes: number, of: number, file: string) => void;
}

/** What was fetched, and where it lies. */
export interface PullResult {
  /** ORG/NAME. */
  readonly id: string;
  /** The commit. */
  readonly revision: string;
  /** The snapshot in the cache. */
  readonly folder: string;
  /** What `Engine.open` takes: the folder, or the GGUF file in it. */
  readonly path: string;
  /** `cached`: it was there before. */
  readonly files: readonly {
    readonly name: string;
    readonly bytes: number;
    readonly cached: boolean;
  }[];
  /** Of all files together. */
  readonly bytes: number;
}

/**
 * Fetch what is needed of a model of the hub into the cache that other tools share, and check it. Throws
 * `HUB_UNREACHABLE`, `HUB_REFUSED`, `NOT_ON_HUB`, `NOT_CACHED`, `BAD_DOWNLOAD`, `DISK_FULL`, `BAD_REQUEST`, `ABORTED`, and `BAD_CONFIG` or
 * `UNKNOWN_FAMILY` before the weights of what no family here reads.
 *
 *     const { path } = await pull('org/name:Q4_K_M', { onProgress: (bytes, of) => console.error(bytes / of) });
 *     await using engine = await Engine.open(path);
 */
export async function pull(model: string, options: PullOptions = {}): Promise<PullResult> {
  const id = withOptions(expectHubId(model), options);
  const cache = options.cache ?? (await defaultCache());
  if (options.offline) return (await findCached(id, cache)) ?? refuse(model, cache);
  const { name, revision = 'main' } = id;
  const repository = cachedRepository(cache, name);
  const connection = new Connection(options);
  const commit = await findCommit(connection, name, revision);
  const listed = await listRepository(connection, name, commit);
  const byName = new Map(listed.map((file) => [file.name, file]));
  const snapshot = repository.snapshot(commit);
  const fetchOne = new Fetcher(connection, name, commit, repository);
  const choice = await chooseFiles(name, [...byName.keys()], id.file, async () => {
    await fetchOne.ensure(byName.get(indexFile)!, () => undefined);
    return await readShards(snapshot);
  });
  const files = choice.files.map((file) => byName.get(file)!);
  await fetchOne.expectRoom(files);
  // What cannot run is refused before its weights come.
  if (choice.files.includes(configFile)) {
    await fetchOne.ensure(byName.get(configFile)!, () => undefined);
    await readFamily(await openFolder(snapshot), name);
  }
  await fetchOne.all(files, options.onProgress);
  await writeRef(repository, revision, commit);
  return describe(name, commit, snapshot, choice, fetchOne.done);
}

/**
 * A model of the hub as the cache has it, whole; undefined where it has not. Asks nobody. Throws `BAD_REQUEST` for
 * what is no id of the hub.
 *
 *     const path = (await cachedModel('org/name'))?.path ?? (await pull('org/name')).path;
 */
export async function cachedModel(
  model: string,
  options: Pick<PullOptions, 'cache' | 'revision' | 'file'> = {},
): Promise<PullResult | undefined> {
  return await findCached(
    withOptions(expectHubId(model), options),
    options.cache ?? (await defaultCache()),
  );
}

/** Whether this names a model of the hub, and nothing of this machine. */
export const isHubModel = async (model: string): Promise<boolean> =>
  parseHubId(model) !== undefined && !(await folderExists(model)) && !(await fileExists(model));

/** The path of a model: itself, or where the cache has it. Throws `NOT_CACHED`. */
export async function locateModel(model: string): Promise<string> {
  if (!(await isHubModel(model))) return model;
  const cache = await defaultCache();
  return ((await findCached(expectHubId(model), cache)) ?? refuse(model, cache)).path;
}

/** Where huggingface_hub and others look too, by the variables they share. */
async function defaultCache(): Promise<string> {
  const { getHFHubCachePath } = await import('@huggingface/hub');
  return getHFHubCachePath();
}

function refuse(model: string, cache: string): never {
  throw new EngineError(
    'NOT_CACHED',
    `${model}: is no file or folder here, and as a model of the hub not whole in ${cache}; expected one or the other; fetch it with \`pull ${model}\``,
  );
}

function withOptions(id: HubId, { revision, file }: PullOptions): HubId {
  if (revision !== undefined) expectInside(revision, 'BAD_REQUEST', 'the revision');
  return {
    ...id,
    ...(revision !== undefined && { revision }),
    ...(file !== undefined && { file }),
  };
}

async function findCached(
  { name, revision = 'main', file }: HubId,
  cache: string,
): Promise<PullResult | undefined> {
  const repository = cachedRepository(cache, name);
  const commit = await readRef(repository, revision);
  if (commit === undefined) return undefined;
  const snapshot = repository.snapshot(commit);
  const names = await snapshotFiles(snapshot);
  try {
    const choice = await chooseFiles(name, names, file, () => readShards(snapshot));
    const files: PullResult['files'][number][] = [];
    for (const file of choice.files)
      files.push({ name: file, bytes: (await sizeOf(join(snapshot, file)))!, cached: true });
    return describe(name, commit, snapshot, choice, files);
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    // Of two GGUF files one must be named; whatever else is wrong, fetching mends it.
    const several = error.code === 'BAD_REQUEST' && file === undefined;
    if (several) throw error;
    return undefined;
  }
}

/** Names of the weight files an index has. */
async function readShards(snapshot: string): Promise<string[]> {
  const index = await readJsonFile(await openFolder(snapshot), indexFile, 'BAD_CHECKPOINT');
  const { weight_map: map } = Object(index) as { weight_map?: unknown };
  return [...new Set(Object.values(Object(map) as object).map(String))].sort();
}

const describe = (
  id: string,
  revision: string,
  folder: string,
  { gguf }: Choice,
  files: PullResult['files'],
): PullResult => ({
  id,
  revision,
  folder,
  path: gguf === undefined ? folder : join(folder, gguf),
  files,
  bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
});

/** Brings files of one commit into its snapshot. */
class Fetcher {
  /** The files so far. */
  readonly done: PullResult['files'][number][] = [];
  readonly #connection: Connection;
  readonly #base: string;
  readonly #repository: CachedRepository;
  readonly #snapshot: string;

  constructor(connection: Connection, name: string, commit: string, repository: CachedRepository) {
    this.#connection = connection;
    this.#base = `${connection.endpoint}/${name}/resolve/${commit}`;
    this.#repository = repository;
    this.#snapshot = repository.snapshot(commit);
  }

  /** Throws `DISK_FULL` where what is still to come of these files does not fit. */
  async expectRoom(files: readonly HubFile[]): Promise<void> {
    let missing = 0;
    for (const file of files) missing += await this.#missing(file);
    await expectRoom(this.#repository.folder, missing);
  }

  async all(files: readonly HubFile[], onProgress: PullOptions['onProgress']): Promise<void> {
    const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    let before = 0;
    for (const file of files) {
      await this.ensure(file, (bytes) => onProgress?.(before + bytes, total, file.name));
      before += file.bytes;
    }
  }

  /** One file, unless it was brought before. */
  async ensure(file: HubFile, onBytes: (bytes: number) => void): Promise<void> {
    const { name, bytes, hash } = file;
    if (this.done.some((one) => one.name === name)) return;
    expectInside(name, 'BAD_DOWNLOAD', 'the name');
    const [path, blob] = [join(this.#snapshot, name), this.#repository.blob(hash)];
    const placed = (await sizeOf(path)) === bytes;
    const cached = placed || (await sizeOf(blob)) === bytes;
    if (!cached) {
      const url = new URL(`${this.#base}/${name.split('/').map(encodeURIComponent).join('/')}`);
      await downloadBlob(this.#connection, url, file, blob, onBytes);
    }
    if (!placed) await linkBlob(blob, path);
    onBytes(bytes);
    this.done.push({ name, bytes, cached });
  }

  /** Bytes of a file that are still to come. */
  async #missing({ name, bytes, hash }: HubFile): Promise<number> {
    expectInside(name, 'BAD_DOWNLOAD', 'the name');
    const blob = this.#repository.blob(hash);
    if ((await sizeOf(join(this.#snapshot, name))) === bytes) return 0;
    if ((await sizeOf(blob)) === bytes) return 0;
    return bytes - Math.min((await sizeOf(incomplete(blob))) ?? 0, bytes);
  }
}

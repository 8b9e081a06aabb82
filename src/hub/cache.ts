import {
  copyFile,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  symlink,
} from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { EngineError } from '../errors.ts';
import { fileExists, replaceFile } from '../loaders/fs.ts';
import { isCommit } from './id.ts';

/**
 * One model in the cache that huggingface_hub and others share: `blobs` by hash, `snapshots` of links to
 * them by commit, and `refs`, the commits that branches and tags stood at.
 */
export interface CachedRepository {
  readonly folder: string;
  readonly blob: (hash: string) => string;
  readonly snapshot: (commit: string) => string;
}

export function cachedRepository(cache: string, name: string): CachedRepository {
  const folder = join(cache, `models--${name.replace('/', '--')}`);
  return {
    folder,
    blob: (hash) => join(folder, 'blobs', hash),
    snapshot: (commit) => join(folder, 'snapshots', commit),
  };
}

/** The commit a revision stood at when it was last asked for. */
export async function readRef(
  { folder }: CachedRepository,
  revision: string,
): Promise<string | undefined> {
  if (isCommit(revision)) return revision;
  const text = await readFile(join(folder, 'refs', revision), 'utf8').catch(() => '');
  return isCommit(text.trim()) ? text.trim() : undefined;
}

export async function writeRef(
  { folder }: CachedRepository,
  revision: string,
  commit: string,
): Promise<void> {
  if (!isCommit(revision))
    await replaceFile(join(folder, 'refs', revision), [new TextEncoder().encode(commit)]);
}

/** Names of the files of a snapshot that lead to a blob. */
export async function snapshotFiles(snapshot: string): Promise<string[]> {
  const paths = await readdir(snapshot, { recursive: true }).catch(() => []);
  const files: string[] = [];
  for (const path of paths)
    if (await fileExists(join(snapshot, path))) files.push(path.split(sep).join('/'));
  return files.sort();
}

/** Size of a file; undefined where there is none. */
export const sizeOf = (path: string): Promise<number | undefined> =>
  stat(path).then(
    (found) => (found.isFile() ? found.size : undefined),
    () => undefined,
  );

/** Make a snapshot's file lead to its blob, whatever it was before; a copy where links cannot be made. */
export async function linkBlob(blob: string, path: string): Promise<void> {
  const temporary = `${path}.${process.pid}.partial`;
  await mkdir(dirname(path), { recursive: true });
  try {
    await symlink(relative(dirname(path), blob), temporary).catch(() => copyFile(blob, temporary));
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Make a folder, and refuse what would not fit beside what is there. Throws `DISK_FULL`. */
export async function expectRoom(folder: string, bytes: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const { bavail, bsize } = await statfs(folder);
  if (bytes <= bavail * bsize) return;
  throw new EngineError(
    'DISK_FULL',
    `${folder}: ${bytes} bytes are to come and ${bavail * bsize} are free; expected room for all; free some, or set HF_HOME to a larger disk`,
  );
}

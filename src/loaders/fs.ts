import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import {
  copyFile as copy,
  type FileHandle,
  mkdir,
  mkdtemp,
  open,
  readdir,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { EngineError } from '../errors.ts';
import type { Folder, ModelFiles, Sha256, Source } from '../source.ts';
import { expectWithin } from './folder.ts';
import { isGguf } from './names.ts';

/** What one system call takes. */
const largestRead = 2 ** 30;

/** Open a file for reading. Throws `FILE_NOT_FOUND`. */
export async function openFile(path: string): Promise<Source> {
  let handle: FileHandle;
  let size: number;
  try {
    handle = await open(path, constants.O_RDONLY);
    const found = await handle.stat();
    if (!found.isFile()) {
      await handle.close();
      throw new Error('it is not a file');
    }
    size = found.size;
  } catch (cause) {
    throw unreadable(path, 'a file', cause);
  }
  return {
    name: path,
    path,
    size,
    async read(offset, length) {
      expectWithin(path, size, offset, length);
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const want = Math.min(length - done, largestRead);
        const { bytesRead } = await handle.read(bytes, done, want, offset + done);
        if (bytesRead === 0)
          throw new EngineError(
            'BAD_CHECKPOINT',
            `${path}: ends at ${offset + done} of ${size} bytes; expected it not to change while it is read; load it again`,
          );
        done += bytesRead;
      }
      return bytes;
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

/** Whether there is a file of this name. */
export const fileExists = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  );

/** Whether there is a folder of this name. */
export const folderExists = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

/** List a folder. Throws `FILE_NOT_FOUND`. */
export async function openFolder(path: string): Promise<Folder> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    const files = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
    return { name: path, files: files.sort(), open: (file) => openFile(join(path, file)), sha256 };
  } catch (cause) {
    throw unreadable(path, 'a folder', cause);
  }
}

/** The files of the model at a path: a checkpoint folder or a GGUF file. Throws `FILE_NOT_FOUND`. */
export async function modelFiles(path: string, name = path): Promise<ModelFiles> {
  if (!isGguf(path)) return { name, path, folder: await openFolder(path) };
  return { name, path, folder: await openFolder(dirname(path)), gguf: basename(path) };
}

/**
 * Write a file as a whole or not at all: under a temporary name first, so that a file with the final
 * name is always complete. Folders on the way are made.
 */
export async function replaceFile(
  path: string,
  parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const temporary = `${path}.${process.pid}.partial`;
  await mkdir(dirname(path), { recursive: true });
  try {
    const handle = await open(temporary, 'w');
    try {
      for await (const part of parts) await handle.writeFile(part);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/**
 * Make a folder as a whole or not at all: `fill` is given a temporary one, which takes the name when
 * it is done. Throws `BAD_REQUEST` where there is something of that name already.
 */
export async function makeFolder(
  path: string,
  fill: (temporary: string) => Promise<void>,
): Promise<void> {
  const found = await readdir(path).catch((error: NodeJS.ErrnoException) => error.code);
  if (found !== 'ENOENT' && found?.length !== 0)
    throw new EngineError(
      'BAD_REQUEST',
      `${path}: is there already; expected the name of a new folder; choose another one or remove it`,
    );
  const temporary = `${path.replace(/\/+$/, '')}.${process.pid}.partial`;
  try {
    await mkdir(temporary, { recursive: true });
    await fill(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    const { syscall, message } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    throw new EngineError(
      'FILE_NOT_FOUND',
      `${path}: cannot be written (${message}); expected a place with room enough; choose another`,
      { cause: error },
    );
  }
}

/** A file among the system's temporary ones, in a folder of its own; disposing removes both. */
export async function temporaryFile(
  name: string,
  parts: Iterable<Uint8Array>,
): Promise<AsyncDisposable & { readonly path: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'dejavu-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  const path = join(folder, name);
  try {
    await writeFile(path, parts);
    return { path, [Symbol.asyncDispose]: remove };
  } catch (error) {
    await remove();
    const { syscall, message } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    throw new EngineError(
      'FILE_NOT_FOUND',
      `${path}: cannot be written (${message}); expected room for a temporary file; set TMPDIR to a folder with more`,
      { cause: error },
    );
  }
}

/** Copy one file. */
export const copyFile = (from: string, to: string): Promise<void> => copy(from, to);

/** Copy files of a folder to another one, those that are there. */
export async function copyFiles(
  from: string,
  to: string,
  wanted: (file: string) => boolean,
): Promise<void> {
  for (const file of (await openFolder(from)).files)
    if (wanted(file)) await copyFile(join(from, file), join(to, file));
}

export const sha256: Sha256 = async (chunks) => {
  const hash = createHash('sha256');
  for await (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
};

const unreadable = (path: string, expected: string, cause: unknown): EngineError =>
  new EngineError(
    'FILE_NOT_FOUND',
    `${path}: cannot be read (${cause instanceof Error ? cause.message : String(cause)}); expected ${expected}; check the path`,
    { cause },
  );

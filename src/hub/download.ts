import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EngineError } from '../errors.ts';
import { fileExists } from '../loaders/fs.ts';
import type { Connection } from './connection.ts';
import type { HubFile } from './repository.ts';

/** What another run or another tool has begun, under the name all of them use. */
export const incomplete = (blob: string): string => `${blob}.incomplete`;

/**
 * Fetch one file to `blob`, which appears when its hash is that of the listing. What came before a break
 * stays in `blob.incomplete` and is gone on from, in this run or a later one. Bytes are written at
 * their own places, so two runs at once do not harm one another. Throws `BAD_DOWNLOAD`,
 * `DISK_FULL`, and what `Connection` throws.
 */
export async function downloadBlob(
  connection: Connection,
  url: URL,
  file: HubFile,
  blob: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const partial = incomplete(blob);
  await mkdir(dirname(blob), { recursive: true });
  await using part = await openPartial(partial, file);
  const resumed = part.bytes > 0;
  await fill(connection, url, file, part, onBytes);
  // What an earlier run left may be of another file; what came in one go is not.
  if (part.digest() !== file.hash && resumed) {
    await part.restart();
    await fill(connection, url, file, part, onBytes);
  }
  const found = part.digest();
  if (found !== file.hash) {
    await rm(partial, { force: true });
    throw new EngineError(
      'BAD_DOWNLOAD',
      `${file.name}: its ${file.bytes} bytes hash to ${found}; expected ${file.hash}; it was removed. Fetch it again, and where that does not help, from another \`endpoint\``,
    );
  }
  await part.handle.sync();
  await rename(partial, blob).catch(async (error: unknown) => {
    // Another run was faster, with the same bytes.
    if (!(await fileExists(blob))) throw error;
  });
}

async function fill(
  connection: Connection,
  url: URL,
  file: HubFile,
  part: Part,
  onBytes: (bytes: number) => void,
): Promise<void> {
  onBytes(part.bytes);
  const work = async (): Promise<void> => {
    if (part.bytes === file.bytes) return;
    const from = part.bytes;
    const response = await connection.get(file.name, url, {
      'accept-encoding': 'identity',
      ...(from > 0 && { range: `bytes=${from}-` }),
    });
    const start = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1];
    const continues = response.status === 206 && Number(start) === from;
    if (from > 0 && !continues) await part.restart();
    if (response.status !== 200 && !continues) {
      await response.body?.cancel();
      throw new Error(`the server does not go on at ${from} bytes`);
    }
    for await (const chunk of bodyOf(response)) {
      if (part.bytes + chunk.length > file.bytes) throw await tooLong(file, part);
      await part.write(chunk);
      onBytes(part.bytes);
    }
    if (part.bytes < file.bytes)
      throw new Error(`the connection broke at ${part.bytes} of ${file.bytes} bytes`);
  };
  await connection.persist(file.name, work, () => part.bytes);
}

/** Node's bodies can be iterated over, which the types of browsers do not say. */
const bodyOf = ({ body }: Response): AsyncIterable<Uint8Array> | [] =>
  (body as unknown as AsyncIterable<Uint8Array> | null) ?? [];

/** A file that grows, and the hash of what is in it. */
interface Part extends AsyncDisposable {
  readonly handle: FileHandle;
  readonly bytes: number;
  write(chunk: Uint8Array): Promise<void>;
  restart(): Promise<void>;
  /** Of everything written; may be asked again after a restart. */
  digest(): string;
}

async function openPartial(path: string, file: HubFile): Promise<Part> {
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o644);
  let bytes = 0;
  let hash = begin(file);
  const restart = async (): Promise<void> => {
    await handle.truncate(0);
    bytes = 0;
    hash = begin(file);
  };
  try {
    const { size } = await handle.stat();
    if (size > file.bytes) await restart();
    const chunk = new Uint8Array(2 ** 20);
    while (bytes < size && size <= file.bytes) {
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, bytes);
      if (bytesRead === 0) break;
      hash.update(chunk.subarray(0, bytesRead));
      bytes += bytesRead;
    }
  } catch (error) {
    await handle.close();
    throw error;
  }
  return {
    handle,
    get bytes() {
      return bytes;
    },
    async write(chunk) {
      for (let done = 0; done < chunk.length;) {
        const { bytesWritten } = await handle
          .write(chunk, done, chunk.length - done, bytes + done)
          .catch((cause: unknown) => {
            throw unwritable(path, cause);
          });
        done += bytesWritten;
      }
      hash.update(chunk);
      bytes += chunk.length;
    },
    restart,
    digest: () => hash.copy().digest('hex'),
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

/** Git hashes a header before the bytes. */
const begin = ({ algorithm, bytes }: HubFile): Hash =>
  algorithm === 'sha256' ? createHash('sha256') : createHash('sha1').update(`blob ${bytes}\0`);

async function tooLong(file: HubFile, part: Part): Promise<EngineError> {
  await part.restart();
  return new EngineError(
    'BAD_DOWNLOAD',
    `${file.name}: more bytes come than the ${file.bytes} it is listed with; expected that many; it was removed. Fetch it again, and where that does not help, from another \`endpoint\``,
  );
}

const unwritable = (path: string, cause: unknown): EngineError =>
  new EngineError(
    'DISK_FULL',
    `${path}: cannot be written (${(cause as Error).message}); expected room for the file; free some and pull again: what has come is kept`,
    { cause },
  );

import { EngineError } from '../errors.ts';
import type { Folder } from '../source.ts';
import { expectWithin, folderOf } from './folder.ts';

/**
 * A folder of Blobs or Files, as a page gets them from whoever chooses or drops them; only what is read
 * is in memory. Sources throw `FILE_NOT_FOUND` for a name that is not among them.
 *
 *     blobFolder(Object.fromEntries([...input.files].map((file) => [file.name, file])))
 */
export const blobFolder = (files: Readonly<Record<string, Blob>>, name = 'files'): Folder =>
  folderOf(name, new Map(Object.entries(files)), (blob, file) => ({
    name: file,
    size: blob.size,
    async read(offset, length) {
      expectWithin(file, blob.size, offset, length);
      try {
        return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
      } catch (cause) {
        throw new EngineError(
          'FILE_NOT_FOUND',
          `${file}: cannot be read (${cause instanceof Error ? cause.message : String(cause)}); expected a file that stays as it was when it was chosen; choose it again`,
          { cause },
        );
      }
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }));

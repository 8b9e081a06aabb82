import type { Folder } from '../source.ts';
import { expectWithin, folderOf } from './folder.ts';

/**
 * A folder of bytes that are in memory. They must stay as they are while a source of it is open. Sources throw
 * `FILE_NOT_FOUND` for a name that is not among them.
 *
 *     memoryFolder({ 'config.json': bytes, 'model.safetensors': more, 'tokenizer.json': others })
 */
export const memoryFolder = (
  files: Readonly<Record<string, Uint8Array>>,
  name = 'memory',
): Folder =>
  folderOf(name, new Map(Object.entries(files)), (bytes, file) => ({
    name: file,
    size: bytes.byteLength,
    async read(offset, length) {
      expectWithin(file, bytes.byteLength, offset, length);
      return await Promise.resolve(Uint8Array.from(bytes.subarray(offset, offset + length)));
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }));

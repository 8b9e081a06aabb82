import { EngineError } from '../errors.ts';
import type { Folder, Source } from '../source.ts';

/** A folder of things by name, each of which `open` makes a source of. */
export function folderOf<T>(
  name: string,
  things: ReadonlyMap<string, T>,
  open: (thing: T, name: string) => Source | Promise<Source>,
): Folder {
  return {
    name,
    files: [...things.keys()].sort(),
    async open(file) {
      const thing = things.get(file);
      if (thing !== undefined) return await open(thing, `${name}/${file}`);
      throw new EngineError(
        'FILE_NOT_FOUND',
        `${name}/${file}: is not there; expected one of ${[...things.keys()].join(', ')}; add it`,
      );
    },
  };
}

/** Throws `BAD_CHECKPOINT` where bytes are asked for that lie beyond a source's end. */
export function expectWithin(name: string, size: number, offset: number, length: number): void {
  if (offset + length > size)
    throw new EngineError(
      'BAD_CHECKPOINT',
      `${name}: ${length} bytes at ${offset} lie beyond its end; expected a file of more than ${size} bytes; it may be truncated, fetch it again`,
    );
}

import type * as z from 'zod/mini';
import { EngineError } from '../errors.ts';
import { parseJson, readWhole } from '../loaders/json.ts';
import { checked } from '../schema.ts';
import type { Folder } from '../source.ts';

/** A file of a task's items: JSON lines, each one item. */
export interface ItemFile<Item> {
  /** Its name in the folder of data. */
  readonly file: string;
  /** What an item has; what else a line has is left out. */
  readonly item: z.ZodMiniType<Item>;
}

const newline = 10;

/**
 * The items of a file, all of them checked, the first `limit` returned. Throws `FILE_NOT_FOUND`, and `BAD_DATA` for a line
 * that is no item.
 */
export async function readItems<Item>(
  folder: Folder,
  { file, item }: ItemFile<Item>,
  limit = Infinity,
): Promise<Item[]> {
  const { bytes, name } = await readWhole(folder, file, 'BAD_DATA');
  const items: Item[] = [];
  for (let start = 0, line = 1; start < bytes.length; line++) {
    const found = bytes.indexOf(newline, start);
    const end = found < 0 ? bytes.length : found;
    const one = bytes.subarray(start, end);
    start = end + 1;
    if (one.every(isSpace)) continue;
    const where = `${name}, line ${line}`;
    const read = checked(item, parseJson(one, where, 'BAD_DATA'));
    if (read.success) items.push(read.data);
    else {
      const [{ path, message }] = read.error.issues;
      throw new EngineError(
        'BAD_DATA',
        `${where}: ${path.join('.') || 'the line'}: ${message}; expected an item as the task has it; correct the file`,
      );
    }
  }
  if (items.length === 0)
    throw new EngineError(
      'BAD_DATA',
      `${name}: holds no item, expected one a line; fetch the file again`,
    );
  return items.slice(0, limit);
}

const isSpace = (byte: number): boolean => byte === 32 || (byte >= 9 && byte <= 13);

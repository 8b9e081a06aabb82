import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError } from './errors.ts';

/** Text files in order; of a folder, all of its own that end in .txt, by name. Throws as `readText` does. */
export async function readTexts(paths: readonly string[]): Promise<string[]> {
  const texts: string[] = [];
  for (const path of paths)
    for (const file of await textFiles(path)) texts.push(await readText(file));
  return texts;
}

async function textFiles(path: string): Promise<string[]> {
  if (!(await stat(path).catch(() => undefined))?.isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => name.endsWith('.txt')).sort();
  if (names.length) return names.map((name) => join(path, name));
  throw new EngineError(
    'FILE_NOT_FOUND',
    `${path}: a folder without .txt files, expected texts; name files, or another folder`,
  );
}

/** A text file. Throws `FILE_NOT_FOUND`, `BAD_TEXT`. */
export async function readText(path: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new EngineError(
      'FILE_NOT_FOUND',
      `${path}: cannot be read (${(cause as Error).message}); expected a text file; check the path`,
      { cause },
    );
  }
  return decodeText(bytes, path);
}

/** Bytes as text. Throws `BAD_TEXT`. */
export function decodeText(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new EngineError(
      'BAD_TEXT',
      `${where}: ${bytes.length} bytes that are not UTF-8; expected UTF-8 text; convert it first`,
      { cause },
    );
  }
}

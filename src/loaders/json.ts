import { EngineError, type ErrorCode } from '../errors.ts';
import type { Folder } from '../source.ts';

/** Far more than any real configuration, index or vocabulary has. */
const largestText = 256 * 2 ** 20;

/** Parse a whole JSON file of a folder. Throws `FILE_NOT_FOUND`, and `code` when it is not JSON. */
export async function readJsonFile(
  folder: Folder,
  file: string,
  code: ErrorCode,
): Promise<unknown> {
  const { bytes, name } = await readWhole(folder, file, code);
  return parseJson(bytes, name, code);
}

/** A whole text file of a folder. Throws `FILE_NOT_FOUND`, and `code` when it is not UTF-8. */
export async function readTextFile(folder: Folder, file: string, code: ErrorCode): Promise<string> {
  const { bytes, name } = await readWhole(folder, file, code);
  return decodeText(bytes, name, code);
}

/** A whole file. Throws `FILE_NOT_FOUND`, and `code` when it is larger than any text. */
export async function readWhole(
  folder: Folder,
  file: string,
  code: ErrorCode,
): Promise<{ bytes: Uint8Array; name: string }> {
  await using source = await folder.open(file);
  const { name, size } = source;
  if (size > largestText)
    throw new EngineError(
      code,
      `${name}: has ${size} bytes; expected text of at most ${largestText}; check that it is the right file`,
    );
  return { bytes: await source.read(0, size), name };
}

function decodeText(bytes: Uint8Array, where: string, code: ErrorCode): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new EngineError(code, `${where}: is not text; expected UTF-8; fetch the file again`, {
      cause,
    });
  }
}

/** Parse JSON bytes, in which no object may have the same key twice. */
export function parseJson(bytes: Uint8Array, where: string, code: ErrorCode): unknown {
  const text = decodeText(bytes, where, code);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new EngineError(
      code,
      `${where}: is not JSON (${cause instanceof Error ? cause.message : String(cause)}); expected JSON; fetch the file again`,
      { cause },
    );
  }
  const key = duplicateKey(text);
  if (key !== undefined)
    throw new EngineError(
      code,
      `${where}: the key ${JSON.stringify(key)} occurs twice; expected each once; remove one`,
    );
  return value;
}

/** The first key that an object of valid JSON `text` has twice; `JSON.parse` keeps the last silently. */
function duplicateKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '{') open.push(new Set());
    else if (text[i] === '}') open.pop();
    else if (text[i] === '"') {
      const start = i++;
      while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
      let next = i + 1;
      while (' \t\n\r'.includes(text[next] ?? 'end')) next++;
      if (text[next] !== ':') continue;
      const key = JSON.parse(text.slice(start, i + 1)) as string;
      const keys = open.at(-1)!;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}

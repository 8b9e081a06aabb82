import { EngineError, type ErrorCode } from '../errors.ts';
import type { Folder, Source } from '../source.ts';

/** Far more than any real config or index has. */
const largestJson = 256 * 2 ** 20;

/** Parse a whole JSON source. Throws `code` when it is not JSON in UTF-8. */
export async function readJson(source: Source, code: ErrorCode): Promise<unknown> {
  if (source.size > largestJson)
    throw new EngineError(
      code,
      `${source.name}: has ${source.size} bytes; expected JSON of at most ${largestJson}; check that it is the right file`,
    );
  return parseJson(await source.read(0, source.size), source.name, code);
}

/** The same of a file in a folder. */
export async function readJsonFile(
  folder: Folder,
  file: string,
  code: ErrorCode,
): Promise<unknown> {
  await using source = await folder.open(file);
  return await readJson(source, code);
}

/** Parse JSON bytes, in which no object may have the same key twice. */
export function parseJson(bytes: Uint8Array, where: string, code: ErrorCode): unknown {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw new EngineError(
      code,
      `${where}: is not JSON (${cause instanceof Error ? cause.message : String(cause)}); expected JSON in UTF-8; fetch the file again`,
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

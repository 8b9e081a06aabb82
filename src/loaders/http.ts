import { EngineError } from '../errors.ts';
import type { Folder, Source } from '../source.ts';
import { expectWithin, folderOf } from './folder.ts';

/** How files are asked for. */
export interface HttpOptions {
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Ends requests under way. */
  readonly signal?: AbortSignal;
}

/**
 * A folder of files below a URL, read range by range as they are needed. A server lists nothing, so the
 * files that are there are named.
 *
 *     httpFolder('https://example.org/books-6m/', ['config.json', 'model.safetensors', 'tokenizer.json'])
 *
 * The server must answer requests for ranges and, for pages of other origins, expose Content-Range.
 * Sources throw `FILE_NOT_FOUND` where a request fails and `BAD_CHECKPOINT` where the answer is another range.
 */
export function httpFolder(
  base: string | URL,
  files: readonly string[],
  options: HttpOptions = {},
): Folder {
  const folder = new URL(base);
  if (!folder.pathname.endsWith('/')) folder.pathname += '/';
  const urls = files.map((file) => [file, new URL(encodeURIComponent(file), folder)] as const);
  return folderOf(folder.href.replace(/\/$/, ''), new Map(urls), (url) => openUrl(url, options));
}

async function openUrl(url: URL, options: HttpOptions): Promise<Source> {
  const name = url.href;
  const { size } = await fetchRange(url, 0, 1, options);
  return {
    name,
    size,
    async read(offset, length) {
      expectWithin(name, size, offset, length);
      if (length === 0) return new Uint8Array(0);
      const { bytes, size: now } = await fetchRange(url, offset, length, options);
      if (bytes.length === length && now === size) return bytes;
      throw new EngineError(
        'BAD_CHECKPOINT',
        `${name}: ${bytes.length} bytes of ${now} came for ${length} of ${size}; expected a file that stays as it is while it is read; open it again`,
      );
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Bytes of a file, and how many it has. */
async function fetchRange(
  url: URL,
  offset: number,
  length: number,
  { headers, signal }: HttpOptions,
): Promise<{ bytes: Uint8Array<ArrayBuffer>; size: number }> {
  const range = `bytes=${offset}-${offset + length - 1}`;
  let response: Response;
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    response = await fetch(url, { headers: { ...headers, range }, ...(signal && { signal }) });
    // Of an answer that is not the range, which may be gigabytes, nothing is read.
    if (response.status === 206) bytes = new Uint8Array(await response.arrayBuffer());
    else {
      bytes = new Uint8Array(0);
      await response.body?.cancel();
    }
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new EngineError(
      'FILE_NOT_FOUND',
      `${url.href}: cannot be fetched (${cause instanceof Error ? cause.message : String(cause)}); expected a server that answers; check the address and the connection`,
      { cause },
    );
  }
  const { status } = response;
  if (!response.ok && status !== 416)
    throw new EngineError(
      'FILE_NOT_FOUND',
      `${url.href}: the server answers ${status}; expected the file; check the address`,
    );
  const size = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1];
  if (status === 200 || size === undefined)
    throw new EngineError(
      'BAD_CHECKPOINT',
      `${url.href}: the answer to "Range: ${range}" is ${status} ${size === undefined ? 'without' : 'with'} a Content-Range that can be seen; expected 206 and the size of the file; let the server answer ranges and expose Content-Range`,
    );
  return { bytes, size: Number(size) };
}

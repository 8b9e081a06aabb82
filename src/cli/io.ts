import type { Readable, Writable } from 'node:stream';
import { decodeText } from '../texts.ts';

/** What a command may touch of the process that runs it. */
export interface Io {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  /** `isTTY`: a person watches, so progress bars make sense. */
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  /** The arguments' bytes, where the system tells: Node replaces those that are not UTF-8. */
  readonly commandLine?: Uint8Array | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** Write, and wait until more is welcome. Rejects when nobody reads any more (EPIPE). */
export const write = (stream: Writable, text: string): Promise<void> =>
  new Promise((resolve, reject) => {
    stream.write(text, (error) => (error ? reject(error) : resolve()));
  });

/** One line for people. Whether anybody reads it does not matter to the work. */
export function note(io: Io, text: string): void {
  io.stderr.write(`${text}\n`);
}

export async function readAll(stdin: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stdin) chunks.push(chunk);
  return decodeText(Buffer.concat(chunks), 'stdin');
}

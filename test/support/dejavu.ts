import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect } from 'vitest';
import { run } from '../../src/cli/run.ts';

/** What a command line came to. */
interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Around {
  readonly stdin?: Uint8Array;
  readonly env?: Record<string, string>;
  readonly signal?: AbortSignal;
}

/** Run a command line in this process. */
export async function dejavu(argv: readonly string[], around: Around = {}): Promise<Ran> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const [out, err] = [text(stdout), text(stderr)];
  const status = await run(argv, {
    stdin: Readable.from([around.stdin ?? new Uint8Array()]),
    stdout,
    stderr,
    env: around.env ?? {},
    signal: around.signal ?? new AbortController().signal,
  });
  stdout.end();
  stderr.end();
  return { status, stdout: await out, stderr: await err };
}

/** The object it prints; it must succeed. */
export async function dejavuJson<T>(argv: readonly string[], around?: Around): Promise<T> {
  const { status, stdout, stderr } = await dejavu([...argv, '--json'], around);
  expect(status, stderr).toBe(0);
  return JSON.parse(stdout) as T;
}

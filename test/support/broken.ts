/** Copies of checkpoints with something wrong in them. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';

const parity = fileURLToPath(new URL('../data/parity', import.meta.url));

/** Removed when the tests of the file are done. */
export const temporary = mkdtempSync(join(tmpdir(), 'dejavu-cli-'));
afterAll(() => rmSync(temporary, { recursive: true }));
let copies = 0;

/** A copy of a parity checkpoint, changed. */
export function broken(name: string, change: (path: string) => void): string {
  const path = join(temporary, `${name}-${copies++}`);
  cpSync(join(parity, name), path, { recursive: true });
  change(path);
  return path;
}

/** Fields of its config.json, changed. */
export const config = (path: string, change: object): void => {
  const file = `${path}/config.json`;
  const before = JSON.parse(readFileSync(file, 'utf8')) as object;
  writeFileSync(file, JSON.stringify({ ...before, ...change }));
};

/** Change a safetensors header; the bytes of tensors stay. */
export function header(file: string, change: (json: Record<string, Entry>) => void): void {
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const json = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<string, Entry>;
  change(json);
  const written = Buffer.from(JSON.stringify(json));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(written.length));
  writeFileSync(file, Buffer.concat([size, written, bytes.subarray(8 + length)]));
}

interface Entry {
  shape: number[];
  data_offsets: [number, number];
}

/** Other weights under the same header. */
export function rewriteLastBytes(file: string): void {
  const bytes = readFileSync(file);
  new Float32Array(bytes.buffer, bytes.byteOffset + bytes.length - 4096, 1024).fill(0.25);
  writeFileSync(file, bytes);
}

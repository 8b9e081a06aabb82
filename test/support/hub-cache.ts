/** A hub on this machine and a cache of its own for each test. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeEach } from 'vitest';
import type { PullOptions } from '../../src/hub/pull.ts';
import {
  commit,
  gitHash,
  type HubServer,
  type Repository,
  sha256,
  startHub,
} from './hub-server.ts';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const checkpoint = join(root, 'test/data/parity/llama');
const temporary = mkdtempSync(join(tmpdir(), 'dejavu-hub-'));
afterAll(() => rmSync(temporary, { recursive: true }));

export const bytes = (content: string): Uint8Array => new TextEncoder().encode(content);
export const [config, weights] = ['config.json', 'model.safetensors'].map((file) =>
  Uint8Array.from(readFileSync(join(checkpoint, file))),
);
export const name = 'tiny/llama';
export const weightsFile = 'model.safetensors';
export const files = {
  'README.md': bytes('not needed'),
  'config.json': config,
  'generation_config.json': bytes('{}'),
  'model.safetensors': weights,
  'pytorch_model.bin': bytes('pickled'),
};

export let cache = '';
export let server: HubServer | undefined;
let runs = 0;
beforeEach(() => void (cache = join(temporary, `cache ${runs++}`)));
afterEach(stopHub);

export async function stopHub(): Promise<void> {
  await server?.[Symbol.asyncDispose]();
  server = undefined;
}

export async function hub(repository: Partial<Repository> = {}): Promise<PullOptions> {
  server = await startHub({ name, files, ...repository });
  return { endpoint: server.endpoint, cache, retryDelayMs: 0 };
}

export const folder = (): string => join(cache, 'models--tiny--llama');
export const blob = (of: Uint8Array): string => join(folder(), 'blobs', sha256(of));
export const snapshot = (): string => join(folder(), 'snapshots', commit);
/** Every file below the cache, by its path. */
export const tree = (): string[] =>
  existsSync(cache)
    ? readdirSync(cache, { recursive: true, withFileTypes: true })
        .filter((entry) => !entry.isDirectory())
        .map((entry) => entry.name)
        .sort()
    : [];

/** As huggingface_hub leaves it. */
export function cacheByOthers(): void {
  for (const [file, content] of Object.entries({ 'config.json': config, [weightsFile]: weights })) {
    const hash = file === weightsFile ? sha256(content) : gitHash(content);
    mkdirSync(join(folder(), 'blobs'), { recursive: true });
    mkdirSync(snapshot(), { recursive: true });
    writeFileSync(join(folder(), 'blobs', hash), content);
    symlinkSync(`../../blobs/${hash}`, join(snapshot(), file));
  }
  mkdirSync(join(folder(), 'refs'));
  writeFileSync(join(folder(), 'refs/main'), commit);
}

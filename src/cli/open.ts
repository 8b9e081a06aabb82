import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Engine, type OpenOptions } from '../engine/local.ts';
import { EngineError } from '../errors.ts';
import { describePolicy } from '../kv/parts/budget.ts';
import { decodeText, type Io, note } from './io.ts';
import { inFlags } from './library-names.ts';
import { availableMemory } from './memory.ts';

/** Open a model and say on stderr what was chosen. */
export async function openEngine(model: string, options: OpenOptions, io: Io): Promise<Engine> {
  const notes: string[] = [];
  const engine = await Engine.open(model, {
    memoryLimit: availableMemory(),
    ...options,
    onNote: (line) => notes.push(line),
  });
  for (const line of notes) note(io, `note: ${inFlags(line)}`);
  note(io, describe(engine));
  return engine;
}

function describe({ model, backend, checkpoint, sparsity, policy, cacheType }: Engine): string {
  const { threads, isa, device } = backend.info;
  const where = [isa, device, threads === 1 ? '1 thread' : `${threads} threads`];
  return [
    model,
    `${backend.name} backend (${where.filter(Boolean).join(', ')})`,
    `${checkpoint.dtype} weights`,
    `sparsity ${sparsity.name}`,
    `kv ${describePolicy(policy)}${cacheType === 'f32' ? '' : ` as ${cacheType}`}`,
  ].join(' · ');
}

/** The defaults that a model comes with, as flags, and where they stand; undefined where it says nothing. */
export function describeDefaults({ source, options }: Engine['defaults']): string | undefined {
  const flags = Object.entries(options).map(([name, value]) => inFlags(`\`${name} ${value}\``));
  return flags.length ? `${flags.join(' ')} (${source})` : undefined;
}

/** Say which options come from the model, where some do. */
export function noteDefaults({ defaults }: Engine, io: Io): void {
  const said = describeDefaults(defaults);
  if (said) note(io, `note: unless other flags are given: ${said}`);
}

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

import { readFile } from 'node:fs/promises';
import { Engine, type OpenOptions } from '../engine/engine.ts';
import { EngineError } from '../errors.ts';
import { decodeText, type Io, note } from './io.ts';
import { availableMemory } from './memory.ts';

/** Open a model and say on stderr what was chosen. */
export async function openEngine(model: string, options: OpenOptions, io: Io): Promise<Engine> {
  const notes: string[] = [];
  const engine = await Engine.open(model, {
    memoryLimit: availableMemory(),
    ...options,
    onNote: (line) => notes.push(line),
  });
  for (const line of notes) note(io, `note: ${line}`);
  note(io, describe(engine));
  return engine;
}

function describe({ model, backend, checkpoint, sparsity, policy }: Engine): string {
  const { threads, isa, device } = backend.info;
  const where = [isa, device, threads === 1 ? '1 thread' : `${threads} threads`];
  return [
    model,
    `${backend.name} backend (${where.filter(Boolean).join(', ')})`,
    `${checkpoint.dtype} weights`,
    `sparsity ${sparsity.name}`,
    `kv ${policy.name}`,
  ].join(' · ');
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

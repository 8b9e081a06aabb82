import type { Backend, BackendFactory, BackendOptions } from '../backend.ts';
import { EngineError } from '../errors.ts';

export interface OpenedBackend {
  readonly backend: Backend;
  /** Why faster backends were passed over, and why this one is slower than it could be: one sentence each. */
  readonly notes: readonly string[];
}

/**
 * Open one of the backends by name; `auto` takes the first that opens. Throws `BAD_REQUEST`,
 * `BACKEND_UNAVAILABLE`.
 */
export async function openOneOf(
  backends: readonly BackendFactory[],
  name: string,
  options: BackendOptions,
): Promise<OpenedBackend> {
  if (backends.length === 0)
    throw new EngineError(
      'BAD_REQUEST',
      '`backends`: none is given; expected at least one; hand in `reference`, which runs everywhere',
    );
  if (name !== 'auto') {
    const factory = backends.find((candidate) => candidate.name === name);
    if (factory) return opened(await factory.open(options), []);
    const names = ['auto', ...backends.map((candidate) => candidate.name)];
    throw new EngineError('BAD_REQUEST', `backend: ${name}; expected one of ${names.join(', ')}`);
  }
  return firstThatOpens(backends, options);
}

const opened = (backend: Backend, notes: readonly string[]): OpenedBackend => ({
  backend,
  notes: backend.info.note === undefined ? notes : [...notes, backend.info.note],
});

/** The first of `candidates` that opens, and why those before it did not. */
export async function firstThatOpens(
  candidates: readonly BackendFactory[],
  options: BackendOptions,
): Promise<OpenedBackend> {
  const notes: string[] = [];
  for (const factory of candidates)
    try {
      return opened(await factory.open(options), notes);
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== 'BACKEND_UNAVAILABLE') throw error;
      notes.push(error.message);
    }
  throw new EngineError('BACKEND_UNAVAILABLE', notes.join('; '));
}

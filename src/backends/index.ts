import type { BackendFactory, BackendOptions } from '../backend.ts';
import { native } from './native/index.ts';
import { type OpenedBackend, openOneOf } from './open.ts';
import { reference } from './reference/index.ts';

/** Every backend of Node, fastest first. */
export const backends: readonly BackendFactory[] = [native, reference];

/** What `backend` calls them. */
export type BackendName = (typeof native | typeof reference)['name'];

/** Open a backend by name; `auto` takes the first that opens. */
export const openBackend = (name: string, options: BackendOptions = {}): Promise<OpenedBackend> =>
  openOneOf(backends, name, options);

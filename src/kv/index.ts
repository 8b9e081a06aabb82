import type { KVPolicy } from '../kv.ts';
import { full } from './full.ts';

/** Every KV policy there is. */
export const policies: readonly KVPolicy[] = [full];

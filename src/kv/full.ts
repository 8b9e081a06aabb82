import type { KVPolicy } from '../kv.ts';

/** Keeps every token; the context is the limit. */
export const full: KVPolicy = {
  name: 'full',
  sinks: 0,
  recent: Infinity,
  positions: 'original',
};

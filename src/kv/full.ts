import type { KVPolicy, PolicyKind } from '../kv.ts';

/** Keeps every token; the context is the limit. */
export const full: KVPolicy = { name: 'full', keeps: 'all', positions: 'original' };

export const fullKind: PolicyKind<'full'> = {
  name: 'full',
  summary: 'all',
  takes: [],
  create: () => full,
};

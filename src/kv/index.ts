import type { PolicyKind } from '../kv.ts';
import { fullKind } from './full.ts';
import { h2o, h2oCompacted } from './h2o.ts';
import { quest } from './quest.ts';
import { random } from './random.ts';
import { snapkv } from './snapkv.ts';
import { streaming } from './streaming.ts';
import { tova } from './tova.ts';
import { window } from './window.ts';

const table = [
  fullKind,
  window,
  streaming,
  h2o,
  h2oCompacted,
  tova,
  snapkv,
  quest,
  random,
] as const;

/** Every KV policy there is. */
export const policies: readonly PolicyKind[] = table;

/** What `kv` calls the policies that come with the engine. */
export type PolicyName = (typeof table)[number]['name'];

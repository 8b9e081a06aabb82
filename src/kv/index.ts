import type { PolicyKind } from '../kv.ts';
import { fullKind } from './full.ts';
import { h2o, h2oCompacted } from './h2o.ts';
import { quest } from './quest.ts';
import { random } from './random.ts';
import { snapkv } from './snapkv.ts';
import { streaming } from './streaming.ts';
import { tova } from './tova.ts';
import { window } from './window.ts';

/** Every KV policy there is. */
export const policies: readonly PolicyKind[] = [
  fullKind,
  window,
  streaming,
  h2o,
  h2oCompacted,
  tova,
  snapkv,
  quest,
  random,
];

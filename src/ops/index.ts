import type { Op } from '../op.ts';
import { activateOp } from './activate.ts';
import { attentionOp, storeOp } from './attention.ts';
import { backlogOp, keepInputOp, recentOp } from './backlog.ts';
import { crossEntropyOp } from './cross-entropy.ts';
import { divergenceOp } from './divergence.ts';
import { addOp, clampOp, magnitudeOp, multiplyOp } from './elementwise.ts';
import { embedOp } from './embed.ts';
import { encodeOp } from './encode.ts';
import { enterOp, evictOp, observeOp } from './evict.ts';
import { linearTransposedOp } from './linear-transposed.ts';
import { linearOp } from './linear.ts';
import { linearMissingOp, storeMissingOp } from './missing.ts';
import { normOp } from './norm.ts';
import { attendPagesOp, choosePagesOp, pageBoundsOp, pageScoresOp } from './pages.ts';
import { rotaryAnglesOp, rotaryOp } from './rotary.ts';
import { rowSumsOp } from './row-sums.ts';
import { noiseOp, selectAboveOp, selectTopOp } from './select.ts';
import { tallyOp } from './tally.ts';
import { adamOp, bceGradientOp, reluGradientOp, weightGradientOp } from './training.ts';
import { blankOp, poolOp, unionOp } from './union.ts';

/** Every op there is. A backend implements these or says why not. */
export const ops: readonly Op[] = [
  activateOp,
  adamOp,
  addOp,
  attendPagesOp,
  attentionOp,
  backlogOp,
  bceGradientOp,
  blankOp,
  choosePagesOp,
  clampOp,
  crossEntropyOp,
  divergenceOp,
  embedOp,
  encodeOp,
  enterOp,
  evictOp,
  keepInputOp,
  linearMissingOp,
  linearOp,
  linearTransposedOp,
  magnitudeOp,
  multiplyOp,
  noiseOp,
  normOp,
  observeOp,
  pageBoundsOp,
  pageScoresOp,
  poolOp,
  recentOp,
  reluGradientOp,
  rotaryAnglesOp,
  rotaryOp,
  rowSumsOp,
  selectAboveOp,
  selectTopOp,
  storeMissingOp,
  storeOp,
  tallyOp,
  unionOp,
  weightGradientOp,
] as readonly unknown[] as readonly Op[];

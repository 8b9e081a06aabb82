import type { Description } from '../model.ts';
import { rowBytes } from '../tensor.ts';

/** Type predictor matrices are trained for and served in. */
export type PredictorType = 'int8' | 'int4';

/** Predictors take at most this share of the bytes of the MLP's f16 weights … */
const largestShare = 0.118;
/** … and none has a higher rank: past it, what a large model gains is less than it reads. */
const largestRank = 256;
/** Ranks come in whole quantization groups. */
const rankStep = 32;

/** Bytes of one net of the given rank. */
const netBytes = (type: PredictorType, inputs: number, rank: number, units: number): number =>
  rank * rowBytes(type, inputs) + units * rowBytes(type, rank) + 4 * (rank + units);

/** Rank of the heads' predictors: there are few heads, so little is enough. */
export const headRank = ({ heads }: Description): number =>
  heads <= 8 ? 8 : heads <= 32 ? 16 : 32;

/**
 * Ranks of the neurons' predictors, L entries, within the budget of bytes.
 *
 * A fixed rank would cost a small model most of its MLP (81 % for OPT-125M at Deja Vu's 1000), and
 * layers differ: one where more neurons are active is harder to predict (PowerInfer sizes its predictors
 * likewise). Ranks grow one step at a time, always where √(active share) / rank is largest.
 */
export function chooseRanks(
  description: Description,
  type: PredictorType,
  activeShares: readonly number[],
): number[] {
  const { hiddenSize, neurons, heads, gated, layers } = description;
  const mlpBytes = layers * 2 * (gated ? 3 : 2) * hiddenSize * neurons;
  const headBytes = (layers - 1) * netBytes(type, hiddenSize, headRank(description), heads);
  const ranks = activeShares.map(() => rankStep);
  const bytes = (): number =>
    headBytes + ranks.reduce((sum, r) => sum + netBytes(type, hiddenSize, r, neurons), 0);
  const open = new Set(ranks.keys());
  const need = (layer: number): number => Math.sqrt(activeShares[layer]) / ranks[layer];
  while (open.size) {
    const layer = [...open].reduce((a, b) => (need(b) > need(a) ? b : a));
    ranks[layer] += rankStep;
    if (ranks[layer] <= Math.min(largestRank, hiddenSize) && bytes() <= largestShare * mlpBytes)
      continue;
    ranks[layer] -= rankStep;
    open.delete(layer);
  }
  return ranks;
}

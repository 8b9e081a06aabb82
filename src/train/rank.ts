import type { Description } from '../model.ts';
import { type PredictorType, siteType } from '../predictor.ts';
import { formatOf, rowBytes } from '../tensor.ts';

/** Predictors take at most this share of the bytes of the MLP's f16 weights. */
const largestShare = 0.118;
/** And none has a higher rank: past it, what a large model gains is less than it reads. */
const largestRank = (type: PredictorType): number => (formatOf(type).bits === 2 ? 512 : 256);
const leastRank = 32;
/** Ranks come in whole quantization groups, but for the smallest. */
const nextRank = (type: PredictorType, rank: number): number => {
  const { group } = formatOf(type);
  return rank < group ? 2 * rank : rank + group;
};

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
  const headBytes =
    (layers - 1) * netBytes(siteType(type, 'heads'), hiddenSize, headRank(description), heads);
  const ranks = activeShares.map(() => leastRank);
  const bytes = (): number =>
    headBytes + ranks.reduce((sum, r) => sum + netBytes(type, hiddenSize, r, neurons), 0);
  const open = new Set(ranks.keys());
  const need = (layer: number): number => Math.sqrt(activeShares[layer]) / ranks[layer];
  while (open.size) {
    const layer = [...open].reduce((a, b) => (need(b) > need(a) ? b : a));
    const before = ranks[layer];
    ranks[layer] = nextRank(type, before);
    const most = Math.min(largestRank(type), 2 * hiddenSize);
    if (ranks[layer] <= most && bytes() <= largestShare * mlpBytes) continue;
    ranks[layer] = before;
    open.delete(layer);
  }
  return ranks;
}

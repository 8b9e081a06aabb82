import { describe, expect, it } from 'vitest';
import type { Description } from '../model.ts';
import { type PredictorType, predictorTypes } from '../predictor.ts';
import { formatOf, rowBytes } from '../tensor.ts';
import { chooseRanks } from './rank.ts';

const shape = (hiddenSize: number, layers: number): Description =>
  ({ hiddenSize, neurons: 4 * hiddenSize, heads: 8, gated: false, layers }) as Description;

/** Bytes of the neurons' matrices beside those of an f16 MLP. */
const share = (type: PredictorType, width: number, ranks: number[]): number => {
  const bytes = ranks.map((r) => r * rowBytes(type, width) + 4 * width * rowBytes(type, r));
  return bytes.reduce((a, b) => a + b) / (ranks.length * 16 * width * width);
};

describe.each(predictorTypes)('ranks of %s', (type) => {
  const { group } = formatOf(type);

  it('are larger where more neurons are active, in whole groups, and use the budget', () => {
    const ranks = chooseRanks(shape(256, 4), type, [0.2, 0.05, 0.02, 0.05]);
    expect(ranks[0]).toBeGreaterThan(ranks[1]);
    expect(ranks[1]).toBeGreaterThanOrEqual(ranks[2]);
    expect(Math.abs(ranks[3] - ranks[1])).toBeLessThanOrEqual(group);
    for (const rank of ranks) expect(rank > group ? rank % group : group % rank).toBe(0);
    expect(share(type, 256, ranks)).toBeLessThan(0.118);
    expect(share(type, 256, ranks)).toBeGreaterThan(0.08);
  });

  it('stay small where the model is, and stop growing where it is large', () => {
    const small = chooseRanks(shape(64, 2), type, [0.1, 0.1]);
    if (share(type, 64, small) > 0.118) expect(small).toEqual([32, 32]);
    const large = chooseRanks(shape(4096, 2), type, [0.1, 0.1]);
    expect(large).toEqual(type === 'int2g128' ? [512, 512] : [256, 256]);
  });
});

it('ranks of 2 bits are about twice those of 4', () => {
  const active = [0.18, 0.05, 0.05, 0.05, 0.06, 0.07];
  expect(chooseRanks(shape(256, 6), 'int4', active)).toEqual([256, 128, 128, 128, 160, 160]);
  expect(chooseRanks(shape(256, 6), 'int2g128', active)).toEqual([512, 256, 256, 256, 384, 384]);
});

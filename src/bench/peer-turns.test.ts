import { expect, test } from 'vitest';
import type { PeerSession } from './peer.ts';
import { PeerTurns } from './peer-turns.ts';

const description = {
  isa: 'AVX2',
  architecture: 'llama',
  stored: 'Q4_0 in CPU',
  weightBytes: 1000,
  kvBytes: 8,
};

const prompts = [Int32Array.of(5, 6, 7, 8), Int32Array.of(15, 16, 17, 18)];

/** A peer that only keeps a record of what it is asked for. */
function recorder(): { session: PeerSession; asked: string[]; lengths: number[] } {
  const asked: string[] = [];
  const lengths = [0, 0];
  const session: PeerSession = {
    description,
    prefill: (sequence, ids) => {
      asked.push(`prefill ${sequence} at ${lengths[sequence]}: ${ids.join(' ')}`);
      lengths[sequence] += ids.length;
      return Promise.resolve();
    },
    decode: (ids) => {
      asked.push(`decode at ${ids.map((_, i) => lengths[i]).join(' ')}: ${ids.join(' ')}`);
      ids.forEach((_, i) => lengths[i]++);
      return Promise.resolve();
    },
    truncate: (sequence, length) => {
      lengths[sequence] = Math.min(length, lengths[sequence]);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  return { session, asked, lengths };
}

test('a turn is a prefill, then steps behind the whole prompt at every number of texts', async () => {
  const { session, asked } = recorder();
  const turns = new PeerTurns(session, { prompts, steps: 2, sizes: [1, 2] });
  await turns.take(false);
  expect(asked.splice(0)).toEqual([
    'prefill 0 at 0: 5 6 7 8',
    'prefill 1 at 0: 15 16 17 18',
    'prefill 0 at 0: 5 6 7 8',
    'decode at 4: 5',
    'decode at 5: 6',
    'decode at 4 4: 5 15',
    'decode at 5 5: 6 16',
  ]);
  await turns.take(true);
  expect(asked).toEqual([
    'prefill 0 at 0: 5 6 7 8',
    'decode at 4: 5',
    'decode at 5: 6',
    'decode at 4 4: 5 15',
    'decode at 5 5: 6 16',
  ]);
});

test('ratios are ours divided by its own; bytes are those of a step, by texts', async () => {
  const { session } = recorder();
  const turns = new PeerTurns(session, { prompts, steps: 2, sizes: [1, 2] });
  await turns.take(false);
  await turns.take(true);
  const about = { name: 'peer', version: '1', weights: 'int4' };
  const runs = turns.results(
    about,
    [
      { method: 'dense', phase: 'decode', batch: 1, rates: [10] },
      { method: 'exact', phase: 'decode', batch: 1, rates: [30] },
      { method: 'dense', phase: 'decode', batch: 2, rates: [40] },
      { method: 'dense', phase: 'prefill', batch: 1, rates: [70] },
    ],
    2,
  );
  expect(runs.map(({ phase, batch }) => [phase, batch])).toEqual([
    ['decode', 1],
    ['decode', 2],
    ['prefill', 1],
  ]);
  const [one, two, prefill] = runs;
  expect(one).toMatchObject({ ...about, context: 4, isa: 'AVX2', architecture: 'llama' });
  expect(Object.keys(one.ratios)).toEqual(['dense', 'exact']);
  for (const [run, rate] of [
    [one, 10],
    [two, 40],
    [prefill, 70],
  ] as const)
    expect(run.ratios.dense.median * run.tokensPerSecond.median).toBeCloseTo(rate, 9);
  expect(one.ratios.exact.median / one.ratios.dense.median).toBeCloseTo(3, 9);
  // 5 and 6 tokens are in the cache in the two steps.
  expect(one.bytesPerToken).toEqual({ weights: 1000, kv: 8 * 5.5 });
  expect(two.bytesPerToken).toEqual({ weights: 500, kv: 8 * 5.5 });
  expect(prefill.bytesPerToken).toEqual({ weights: 250, kv: 0 });
  expect(one.bandwidthShare).toBeCloseTo((1044 * one.tokensPerSecond.median) / 2e9, 12);
});

import { expect, it } from 'vitest';
import { reference } from '../../backends/reference/index.ts';
import type { KVPolicy } from '../../kv.ts';
import type { CacheType } from '../../ops/attention.ts';
import { cacheTypes } from '../../ops/attention.ts';
import { rowReader } from '../../rows.ts';
import { budgetAt, createPolicy } from './budget.ts';
import { meanKept } from './layout.ts';
import { createCache } from '../cache.ts';
import { fillLedger, fillRows, randomBlock } from './fill.ts';
import { policies } from '../index.ts';

/** Numbers in [0, 1), the same in every run. */
function sequence(): () => number {
  let state = 1;
  return () => (state = (state * 16807) % 2147483647) / 2147483647;
}

const policyOf = (name: string, context: number): KVPolicy =>
  createPolicy(
    policies.find((kind) => kind.name === name)!,
    name === 'full' ? {} : { budget: 50 },
    { context, layers: 2 },
  );

it.each(cacheTypes)(
  '%s rows have mean 0 and variance 1, in one text and its slots alone',
  async (type: CacheType) => {
    await using backend = await reference.open({});
    const cache = backend.allocate(type, [3, 2, 70, 40], 'kv');
    const random = sequence();
    fillRows(backend, cache, { text: 1, count: 60 }, randomBlock(cache, random), random);
    const host = { dtype: type, shape: cache.shape, bytes: (await backend.read([cache]))[0] };
    const [read, row] = [rowReader(host), new Float32Array(40)];
    let [sum, squares, count] = [0, 0, 0];
    const rows = new Set<string>();
    for (let at = 0; at < 3 * 2 * 70; at++) {
      read(at, row);
      const inside = Math.floor(at / 140) === 1 && at % 70 < 60;
      expect(row.some((value) => value !== 0)).toBe(inside);
      if (!inside) continue;
      rows.add(row.join());
      for (const value of row) {
        sum += value;
        squares += value * value;
        count++;
      }
    }
    expect(rows.size).toBe(120);
    expect(Math.abs(sum / count)).toBeLessThan(0.05);
    expect(Math.abs(squares / count - 1)).toBeLessThan(0.05);
  },
);

it('what a block holds comes around where a head has more slots', async () => {
  await using backend = await reference.open({});
  const cache = backend.allocate('f32', [1, 2, 7, 1], 'kv');
  const block = { bytes: new Uint8Array(Float32Array.of(1, 2, 3).buffer), rows: 3 };
  fillRows(backend, cache, { text: 0, count: 7 }, block, () => 0.5);
  expect([...new Float32Array((await backend.read([cache]))[0].buffer)]).toEqual([
    ...[2, 3, 1, 2, 3, 1, 2],
    ...[3, 1, 2, 3, 1, 2, 3],
  ]);
});

it.each(policies.map(({ name }) => name))(
  '%s keeps of a made-up text what it would of a computed one',
  async (name) => {
    await using backend = await reference.open({});
    const policy = policyOf(name, 400);
    const shape = { layers: 2, sequences: 2, kvHeads: 2, capacity: 400, headDim: 4 };
    using cache = createCache(backend, policy, shape);
    const kept = cache.layout.after(0, cache.layout.empty, 300);
    cache.fill(1, 300, kept, sequence());
    const keepsAll = policy.keeps === 'all' || policy.keeps === 'chosen';
    expect(meanKept(cache.layout, kept)).toBe(keepsAll ? 300 : 50);
    const all = { sinks: 0, recent: Infinity };
    const chosen = new Set<string>();
    for (const [layer, head] of [
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ]) {
      const { sinks, recent } = policy.keeps === 'chosen' ? all : budgetAt(policy, layer);
      const count = kept[cache.layout.groups[layer]];
      const positions = await cache.positions(layer, head, 1, 300, kept);
      chosen.add(positions.join());
      expect(positions).toEqual([...new Set(positions)].sort((a, b) => a - b));
      expect(positions).toHaveLength(count);
      expect(positions.slice(0, sinks)).toEqual(Array.from({ length: sinks }, (_, i) => i));
      const last = Math.min(recent, count);
      expect(positions.slice(count - last)).toEqual(
        Array.from({ length: last }, (_, i) => 300 - last + i),
      );
    }
    expect(chosen.size).toBe(policy.keeps === 'ranked' ? 4 : 1);
  },
);

it.each([
  ['h2o', (position: number) => 300 - position],
  ['h2o-compacted', (position: number) => 300 - position],
  ['tova', () => 1],
  ['snapkv', () => 0],
  ['random', () => 1],
] as const)('%s: tokens were looked at since they came, by its rules', async (name, looksAt) => {
  await using backend = await reference.open({});
  const shape = [2, 3, 60];
  const column = (dtype: 'i32' | 'f32') => backend.allocate(dtype, shape, 'state');
  const ledger = {
    positions: column('i32'),
    ranks: column('i32'),
    scores: column('f32'),
    looks: column('i32'),
    chances: column('i32'),
  };
  const place = { layer: 0, text: 1, length: 300, kept: 50 };
  fillLedger(backend, ledger, policyOf(name, 400), place, sequence());
  const of = async (tensor: typeof ledger.looks): Promise<Int32Array> =>
    new Int32Array((await backend.read([tensor]))[0].buffer);
  const [positions, ranks, looks, chances] = [
    await of(ledger.positions),
    await of(ledger.ranks),
    await of(ledger.looks),
    await of(ledger.chances),
  ];
  const scores = new Float32Array((await backend.read([ledger.scores]))[0].buffer);
  expect(chances).toEqual(looks);
  for (let head = 3; head < 6; head++)
    for (let s = 0; s < 50; s++) {
      const at = head * 60 + s;
      expect(ranks[at]).toBe(s);
      expect(looks[at]).toBe(looksAt(positions[at]));
      expect(scores[at] > 0).toBe(looks[at] > 0);
    }
  expect(looks.subarray(0, 180).every((count) => count === 0)).toBe(true);
});

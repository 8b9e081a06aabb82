/**
 * What must hold whatever the weights: on every family and every backend that opens here, over the
 * tiny checkpoints of test/data/parity.
 */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../src/engine/local.ts';
import { makesZeros } from '../src/ops/activation.ts';
import type { Sparsity } from '../src/sparsity.ts';
import { backendsThatOpen } from './support/opens.ts';
import { randomPredictor } from './support/random-predictor.ts';

const folder = fileURLToPath(new URL('data/parity/', import.meta.url));
const ids = Int32Array.from({ length: 14 }, (_, i) => (i * 37 + 5) % 331);
const decoded = 6;

const opens = await backendsThatOpen('identities');

/** Logits after each of the last tokens, decoded by a method. */
async function decode(engine: Engine, method: Sparsity): Promise<Float32Array[]> {
  using session = engine.session(method);
  await session.prefill(ids.subarray(0, -decoded));
  const logits: Float32Array[] = [];
  for (const id of ids.subarray(-decoded)) logits.push(await session.decode(id));
  return logits;
}

const largestGap = (a: Float32Array, b: Float32Array): number =>
  a.reduce((gap, x, i) => Math.max(gap, Math.abs(x - b[i])), 0) /
  b.reduce((peak, x) => Math.max(peak, Math.abs(x)), 0);

describe.each(opens)('%s', (backend) => {
  describe.each(readdirSync(folder))('%s', (name) => {
    let engine: Engine;
    let dense: Float32Array[];
    beforeAll(async () => {
      engine = await Engine.open(folder + name, { backend, weights: 'f32', sparsity: 'dense' });
      dense = await decode(engine, engine.sparsity);
    });
    afterAll(() => engine[Symbol.asyncDispose]());

    it('a predictor that selects all is dense, bit for bit', async () => {
      using all = randomPredictor(engine, { neurons: -1e30, heads: -1e30 });
      expect(await decode(engine, all)).toEqual(dense);
    });

    it('a predictor that selects no neuron and no head is another model', async () => {
      using none = randomPredictor(engine, { neurons: 1e30, heads: 1e30 });
      const found = await decode(engine, none);
      expect(largestGap(found.at(-1)!, dense.at(-1)!)).toBeGreaterThan(0.01);
      expect(found.flatMap((row) => Array.from(row)).every(Number.isFinite)).toBe(true);
    });

    it('exact is dense, bit for bit', async () => {
      expect(await decode(engine, engine.method('exact'))).toEqual(dense);
    });

    it('an oracle that keeps all active neurons is dense', async () => {
      // About half of these random networks' neurons are active; the kept 80 % contain them.
      const method = engine.method('oracle', { neurons: 0.8, heads: 1 });
      const found = await decode(engine, method);
      const gap = largestGap(found.at(-1)!, dense.at(-1)!);
      if (makesZeros(engine.description.activation)) expect(gap).toBe(0);
      else expect(gap).toBeGreaterThan(0);
    });

    it('an oracle is closer to dense than chance at the same density', async () => {
      const densities = { neurons: 0.4, heads: 0.75 };
      const gap = async (method: string): Promise<number> => {
        const found = await decode(engine, engine.method(method, densities));
        return found.reduce((sum, row, i) => sum + largestGap(row, dense[i]), 0);
      };
      expect(await gap('oracle')).toBeLessThan(await gap('random'));
    });

    it('prefill of n tokens is n decode steps', async () => {
      using session = engine.session();
      let last = new Float32Array();
      for (const id of ids) last = (await session.decode(id)) as Float32Array<ArrayBuffer>;
      using whole = engine.session();
      expect(largestGap(await whole.prefill(ids), last)).toBeLessThan(2e-5);
    });

    it('random choices are the same for a seed, others for another', async () => {
      const run = (seed: number) =>
        decode(engine, engine.method('random', { neurons: 0.5, heads: 0.5, seed }));
      expect(await run(1)).toEqual(await run(1));
      expect(await run(1)).not.toEqual(await run(2));
    });

    it('counts what it computes and reads', async () => {
      using session = engine.session(engine.method('random', { neurons: 0.25, heads: 0.5 }));
      await session.prefill(ids);
      await session.decode(3);
      const usage = await session.usage();
      expect(new Set(usage.neurons)).toEqual(new Set([0.25]));
      expect(new Set(usage.heads)).toEqual(new Set([0.5]));
      using denseSession = engine.session();
      await denseSession.prefill(ids);
      await denseSession.decode(3);
      const all = await denseSession.usage();
      expect(all.weights).toBe(session.denseBytes());
      const { layers, neurons, hiddenSize, heads, headDim, gated } = engine.description;
      for (const shares of Object.values(all.read))
        expect(Array.from(shares)).toEqual(Array(layers).fill(1));
      const first = usage.read[gated ? 'gateProj' : 'upProj'];
      expect(Array.from(first!)).toEqual(Array(layers).fill(0.25));
      for (let layer = 0; layer < layers; layer++)
        expect(usage.read.downProj![layer]).toBeLessThanOrEqual(0.25);
      expect(Array.from(usage.read.oProj!)).toEqual(Array(layers).fill(0.5));
      // Queries and outputs of half the heads, and at least three quarters of the up projections.
      const saved = layers * 4 * (0.75 * neurons * hiddenSize + heads * headDim * hiddenSize);
      expect(all.weights - usage.weights).toBeGreaterThanOrEqual(saved);
    });
  });
});

/** What every method of the table promises: nothing here is listed by hand. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../src/engine/local.ts';
import type { Sparsity } from '../src/sparsity.ts';
import { methods } from '../src/sparsity/index.ts';

const prompt = 'The old sailor looked out over the water, and';
const [first, second] = [5, 17];

describe.each(methods)('$name', ({ name, needs, inputs }) => {
  /** Shares where it needs to be told how much to keep; its own measure where it needs nothing. */
  const shares = (share: number) => (needs === 'nothing' ? {} : { neurons: share, heads: share });
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.open('books-6m', { sparsity: name, context: 64, weights: 'f32' });
  });
  afterAll(() => engine[Symbol.asyncDispose]());

  async function decode(method: Sparsity) {
    using session = engine.session(method);
    await session.prefill(engine.encode(prompt));
    const logits = [await session.decode(first), await session.decode(second)];
    return { logits, usage: await session.usage(), dense: session.denseBytes() };
  }

  it('opens, and is what an engine says it runs', () => {
    expect(engine.sparsity.name).toBe(name);
    expect(engine.checkpoint.weights.byInputs('layers.0.attention.qProj')).toBe(
      inputs?.includes('qProj') ?? false,
    );
  });

  it('gives the same twice, by numbers', async () => {
    const [once, again] = [await decode(engine.sparsity), await decode(engine.sparsity)];
    expect(once).toEqual(again);
    expect(once.logits.every((row) => row.every(Number.isFinite))).toBe(true);
  });

  it.skipIf(needs === 'nothing')('that keeps all is dense, bit for bit', async () => {
    const all = await decode(engine.method(name, shares(1)));
    expect(all.logits).toEqual((await decode(engine.method('dense'))).logits);
  });

  it('says what it computed and read', async () => {
    const { usage, dense } = await decode(engine.method(name, shares(0.5)));
    for (const share of usage.neurons) {
      expect(share).toBeGreaterThan(0);
      expect(share).toBeLessThanOrEqual(needs === 'nothing' ? 1 : 0.5);
    }
    // In the first layer nothing comes before heads that could predict them.
    expect(usage.heads.every((share) => share > 0 && share <= 1)).toBe(true);
    if (needs !== 'nothing') expect(Math.min(...usage.heads)).toBeLessThanOrEqual(0.5);
    const read = Object.values(usage.read).flatMap((by) => Array.from(by));
    if (read.every((share) => share <= 1)) expect(usage.weights).toBeLessThanOrEqual(dense);
    expect(usage.weights).toBeGreaterThan(0);
  });

  it('decodes texts together, each from what it alone was given', async () => {
    using batch = engine.batch({ sequences: 2, breakEven: 'off' });
    const texts = [prompt, 'Chapter one'].map((text) => ({ text: batch.text(), prompt: text }));
    const logits = await Promise.all(
      texts.map(async ({ text, prompt }) => {
        await text.prefill(engine.encode(prompt));
        return await text.decode(first);
      }),
    );
    expect(logits.every((row) => row.every(Number.isFinite))).toBe(true);
    expect(logits[0]).not.toEqual(logits[1]);
  });
});

/**
 * Texts decoded together, on every family and every backend that opens here, over the tiny checkpoints of
 * test/data/parity: each gets what it gets alone.
 *
 * Bit for bit up to seven rows: each row adds its own terms in its own order. From eight rows on the
 * native backend may unpack rows of weights once for all, in another order; it is near then.
 */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reference } from '../src/backends/reference/index.ts';
import { Engine } from '../src/engine/local.ts';
import type { Batch } from '../src/engine/batch.ts';
import type { BreakEvenRule } from '../src/engine/break-even.ts';
import type { Sparsity } from '../src/sparsity.ts';
import { codeOf } from './support/code-of.ts';
import { backendsThatOpen } from './support/opens.ts';
import { randomPredictor } from './support/random-predictor.ts';

const folder = fileURLToPath(new URL('data/parity/', import.meta.url));
const steps = 3;

/** Texts of different lengths. */
const text = (which: number, length = 3 + 2 * which + steps): Int32Array =>
  Int32Array.from({ length }, (_, i) => (i * 37 + which * 101 + 5) % 331);
const texts = [0, 1, 2].map((which) => text(which));

const opens = await backendsThatOpen('batch');

/** Logits after each of a text's last tokens, decoded alone. */
async function alone(engine: Engine, method: Sparsity, ids: Int32Array): Promise<Float32Array[]> {
  using session = engine.session(method);
  await session.prefill(ids.subarray(0, -steps));
  const logits: Float32Array[] = [];
  for (const id of ids.subarray(-steps)) logits.push(await session.decode(id));
  return logits;
}

/** The same for several texts decoded together, by text; and what the last step computed. */
async function together(
  engine: Engine,
  method: Sparsity,
  all: readonly Int32Array[],
  breakEven: BreakEvenRule = 'off',
) {
  using batch = engine.batch({ sequences: all.length, method, breakEven });
  const places = await admit(batch, all);
  const logits = all.map((): Float32Array[] => []);
  for (let step = 0; step < steps; step++) {
    const ids = all.map((one) => one[one.length - steps + step]);
    split(await batch.decode(places, ids), all.length).forEach((row, i) => logits[i].push(row));
  }
  return { logits, usage: await batch.usage(), denseBytes: batch.denseBytes(all.length) };
}

/** Admit texts and prefill all but their last tokens. */
async function admit(batch: Batch, all: readonly Int32Array[]): Promise<number[]> {
  const places: number[] = [];
  for (const ids of all) {
    const place = batch.admit();
    await batch.prefill(place, ids.subarray(0, -steps));
    places.push(place);
  }
  return places;
}

const split = (logits: Float32Array, rows: number): Float32Array[] =>
  Array.from({ length: rows }, (_, row) =>
    logits.slice((row * logits.length) / rows, ((row + 1) * logits.length) / rows),
  );

const largestGap = (a: Float32Array, b: Float32Array): number =>
  a.reduce((gap, x, i) => Math.max(gap, Math.abs(x - b[i])), 0) /
  b.reduce((peak, x) => Math.max(peak, Math.abs(x)), 0);

const always = -1e30;

/** The reference takes its time: one family of each kind of block. */
const families = (backend: string): string[] =>
  readdirSync(folder).filter(
    (name) =>
      backend !== reference.name || ['gpt-neox-relu', 'llama-gqa-tied', 'opt'].includes(name),
  );

describe.each(opens)('%s', (backend) => {
  describe.each(families(backend))('%s', (name) => {
    let engine: Engine;
    let dense: Float32Array[][];
    beforeAll(async () => {
      engine = await Engine.open(folder + name, { backend, weights: 'f32', sparsity: 'dense' });
      dense = [];
      for (const ids of texts) dense.push(await alone(engine, engine.sparsity, ids));
    });
    afterAll(() => engine[Symbol.asyncDispose]());

    it.each(['dense', 'exact'])('%s: each text gets what it gets alone', async (method) => {
      const found = await together(engine, engine.method(method), texts);
      expect(found.logits).toEqual(dense);
      expect(found.usage.weights).toBeLessThanOrEqual(found.denseBytes);
    });

    it('of many texts, each gets what it gets alone, or nearly', async () => {
      const many = Array.from({ length: 11 }, (_, which) => text(which, 7));
      const { logits } = await together(engine, engine.method('exact'), many);
      for (const [i, ids] of many.entries()) {
        const expected = await alone(engine, engine.sparsity, ids);
        expect(largestGap(logits[i][steps - 1], expected[steps - 1])).toBeLessThan(2e-5);
      }
    });

    it('heads are chosen for each text', async () => {
      using method = randomPredictor(engine, { neurons: always, heads: 0 });
      const expected: Float32Array[][] = [];
      for (const ids of texts) expected.push(await alone(engine, method, ids));
      const { logits, usage } = await together(engine, method, texts);
      expect(logits).toEqual(expected);
      expect(logits).not.toEqual(dense);
      expect(usage.heads[0]).toBe(1);
      expect(usage.heads[1]).toBeLessThan(1);
    });

    it('weights of heads are read once for all texts, keys and values for each', async () => {
      const { layers, heads, headDim, hiddenSize } = engine.description;
      const method = engine.method('random', { heads: 1 / heads });
      const two = [text(3, 8), text(4, 8)];
      const { usage, denseBytes } = await together(engine, method, two);
      // Of outputs two heads at most are read; a norm of whole queries may need all of these.
      const each = 4 * headDim * hiddenSize;
      const all = layers * heads * each;
      expect(denseBytes - usage.weights).toBeGreaterThanOrEqual(all - layers * 2 * each);
      using session = engine.session(method);
      await session.prefill(two[0].subarray(0, -1));
      await session.decode(two[0][7]);
      expect(usage.kv).toBe(2 * (await session.usage()).kv);
    });

    it('a text beside copies of itself chooses what it chooses alone', async () => {
      using method = randomPredictor(engine, { neurons: 0.2, heads: 0 });
      const expected = await alone(engine, method, texts[1]);
      const { logits } = await together(engine, method, [texts[1], texts[1], texts[1]]);
      expect(logits).toEqual([expected, expected, expected]);
      expect(expected).not.toEqual(dense[1]);
    });

    it('neurons are those that any text needs', async () => {
      using method = randomPredictor(engine, { neurons: 0.6, heads: always });
      const shares: number[] = [];
      for (const ids of texts) {
        using session = engine.session(method);
        await session.prefill(ids.subarray(0, -1));
        await session.decode(ids[ids.length - 1]);
        shares.push((await session.usage()).neurons[0]);
      }
      const { usage } = await together(engine, method, texts);
      const sum = shares.reduce((a, b) => a + b);
      expect(usage.rows).toBe(3);
      expect(usage.neurons[0]).toBeGreaterThan(Math.max(...shares));
      expect(usage.neurons[0]).toBeLessThan(Math.min(1, sum));
    });

    it.each([
      ['oracle', { neurons: 0.5, heads: 0.5 }],
      ['random', { neurons: 0.5, heads: 0.5 }],
    ])('%s keeps as many neurons as independent texts need together', async (method, densities) => {
      const { neurons } = engine.description;
      const { usage } = await together(engine, engine.method(method, densities), texts);
      const share = Math.round((1 - 0.5 ** 3) * neurons) / neurons;
      expect(new Set(usage.neurons)).toEqual(new Set([share]));
      expect(new Set(usage.heads)).toEqual(new Set([0.5]));
    });

    it('an oracle of several texts is closer to dense than chance', async () => {
      const densities = { neurons: 0.2, heads: 0.75 };
      const gap = async (method: string): Promise<number> => {
        const { logits } = await together(engine, engine.method(method, densities), texts);
        return logits.reduce(
          (sum, rows, i) => sum + largestGap(rows[steps - 1], dense[i][steps - 1]),
          0,
        );
      };
      expect(await gap('oracle')).toBeLessThan(await gap('random'));
    });

    it('where choosing does not pay, all is computed, and no predictor is read', async () => {
      using method = randomPredictor(engine, { neurons: 0.6, heads: 0 }, () => 0.1);
      const never = { neurons: 0, heads: 0 };
      const { logits, usage } = await together(engine, method, texts, never);
      expect(logits).toEqual(dense);
      const chosen = [...usage.chosen.neurons, ...usage.chosen.heads];
      expect(chosen).toEqual([...chosen].fill(1));
      expect(usage.predictor).toBe(0);
      const pays = { neurons: 1, heads: 1 };
      expect(await together(engine, method, texts, pays)).toEqual(
        await together(engine, method, texts),
      );
    });

    it('the last of several layers may pay where the others do not', async () => {
      const last = engine.description.layers - 1;
      const expects = (layer: number): number => (layer === last ? 0.1 : 0.2);
      using method = randomPredictor(engine, { neurons: 0.6, heads: always }, expects);
      // Three texts need 1 - 0.9³ = 0.271 where each needs a tenth, and 0.488 where each needs a fifth.
      const { usage } = await together(engine, method, texts, { neurons: 0.3, heads: 0 });
      expect(usage.chosen.neurons.slice(0, last)).toEqual(new Array(last).fill(1));
      expect(usage.chosen.neurons[last]).toBeLessThan(1);
    });

    it('texts come and go; a place that was left is empty', async () => {
      using batch = engine.batch({ sequences: 2, breakEven: 'off' });
      const [first, second] = await admit(batch, texts.slice(0, 2));
      const id = (which: number, step: number): number =>
        texts[which][texts[which].length - steps + step];
      await batch.decode([first, second], [id(0, 0), id(1, 0)]);
      batch.release(first);
      expect(batch.free).toBe(1);
      const third = batch.admit();
      expect(batch.length(third)).toBe(0);
      await batch.prefill(third, texts[2].subarray(0, -steps));
      const both = await batch.decode([second, third], [id(1, 1), id(2, 0)]);
      expect(split(both, 2)).toEqual([dense[1][1], dense[2][0]]);
      const turned = await batch.decode([third, second], [id(2, 1), id(1, 2)]);
      expect(split(turned, 2)).toEqual([dense[2][1], dense[1][2]]);
      batch.truncate(third, batch.length(third) - 1);
      expect(await batch.decode([third], [id(2, 1)])).toEqual(dense[2][1]);
    });
  });
});

describe.each(opens)('%s', (backend) => {
  it.each(['f16', 'int8', 'int4'] as const)(
    'of %s weights too, each text gets what it gets alone',
    async (weights) => {
      const options = { backend, weights, sparsity: 'exact' };
      await using engine = await Engine.open(`${folder}llama-relu`, options);
      const expected: Float32Array[][] = [];
      for (const ids of texts) expected.push(await alone(engine, engine.sparsity, ids));
      expect((await together(engine, engine.sparsity, texts)).logits).toEqual(expected);
    },
  );
});

describe('what a batch refuses', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.open(`${folder}llama-relu`, { context: 8 });
  });
  afterAll(() => engine[Symbol.asyncDispose]());

  it.each<[string, string, (batch: Batch, text: number) => unknown]>([
    ['a text too many', 'BAD_REQUEST', (batch) => [batch.admit(), batch.admit()]],
    ['a text that was not admitted', 'BAD_REQUEST', (batch) => batch.decode([1], [5])],
    [
      'a text that was released',
      'BAD_REQUEST',
      (batch, text) => [batch.release(text), batch.length(text)],
    ],
    ['two tokens of one text', 'BAD_REQUEST', (batch, text) => batch.decode([text, text], [5, 6])],
    ['fewer ids than texts', 'BAD_REQUEST', (batch, text) => batch.decode([text], [])],
    [
      'a prompt beyond the context',
      'PROMPT_TOO_LONG',
      (batch, text) => batch.prefill(text, new Int32Array(9)),
    ],
  ])('%s', async (_what, code, run) => {
    using batch = engine.batch({ sequences: 2 });
    const text = batch.admit();
    await batch.prefill(text, Int32Array.of(5));
    expect(await codeOf(Promise.resolve(text).then((at) => run(batch, at)))).toBe(code);
    expect(batch.length(batch.free === 2 ? batch.admit() : text)).toBeLessThan(2);
  });

  it('a token beyond the context; what was there stays', async () => {
    using batch = engine.batch({ sequences: 2 });
    const [full, other] = [batch.admit(), batch.admit()];
    await batch.prefill(full, new Int32Array(8));
    await batch.prefill(other, new Int32Array(2));
    expect(await codeOf(batch.decode([other, full], [1, 1]))).toBe('PROMPT_TOO_LONG');
    expect([batch.length(full), batch.length(other)]).toEqual([8, 2]);
  });

  it.each([
    { sequences: 0 },
    { sequences: 1.5 },
    { sequences: -1 },
    { context: 0 },
    { context: 9 },
  ])('room for %o', (options) => {
    expect(() => engine.batch(options)).toThrow(/expected a whole number/);
  });
});

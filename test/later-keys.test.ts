/**
 * Keys and values of heads that were not chosen, computed when they are needed: bit for bit what comes of
 * computing those of all heads at every step, whatever happens in between. On every family whose heads
 * have keys of their own and every backend that opens here, over the tiny checkpoints of test/data/parity.
 */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reference } from '../src/backends/reference/index.ts';
import { Batch } from '../src/engine/batch.ts';
import { rowsOf } from '../src/engine/steps.ts';
import { Engine } from '../src/engine/local.ts';
import { full } from '../src/kv/full.ts';
import type { StepUsage } from '../src/engine/accounts.ts';
import { type StepOptions } from '../src/engine/step.ts';
import { cacheBytes, cacheShape } from '../src/kv/cache.ts';
import { backlogRows } from '../src/ops/backlog.ts';
import { Inputs } from '../src/ops/cases/inputs.ts';
import type { Sparsity } from '../src/sparsity.ts';
import { type Given, given } from '../src/sparsity/given.ts';
import { backendsThatOpen } from './support/opens.ts';

const folder = fileURLToPath(new URL('data/parity/', import.meta.url));

const opens = await backendsThatOpen('later keys');

type Keys = NonNullable<StepOptions['keys']>;

/** Texts decoded by given choices of heads, which a seed decides, and every neuron. */
class Play implements Disposable {
  readonly batch: Batch;
  readonly logits: Float32Array[] = [];
  readonly usages: StepUsage[] = [];
  readonly #engine: Engine;
  readonly #given: Given;
  /** Another method, of the same choices, which takes all heads of the first layer. */
  readonly #other: Sparsity;
  readonly #random = new Inputs(5);

  constructor(engine: Engine, keys: Keys) {
    const { backend, checkpoint, policy, context, description } = engine;
    this.#engine = engine;
    this.#given = given(backend, description);
    this.#other = {
      name: 'other',
      begin: (...step) => {
        const selector = this.#given.begin(...step);
        return {
          select: (site, layer, ...rest) =>
            site === 'heads' && layer === 0 ? 'all' : selector.select(site, layer, ...rest),
        };
      },
    };
    this.batch = new Batch(backend, checkpoint, {
      ...{ method: this.#given, policy, keys },
      ...{ capacity: Math.min(context, 128), sequences: 3 },
      programs: { bytes: 0, anyway: 4 },
    });
    const neurons = Array.from({ length: description.neurons }, (_, n) => n);
    for (let layer = 0; layer < description.layers; layer++)
      this.#given.choose('neurons', layer, neurons);
  }

  /** Let the next steps compute these heads in every layer. */
  choose(heads: readonly number[]): void {
    for (let layer = 0; layer < this.#engine.description.layers; layer++)
      this.#given.choose('heads', layer, heads);
  }

  /** Chosen anew for each layer: the first head hardly ever, the last nearly always. */
  #chooseAny(): void {
    const { heads, layers } = this.#engine.description;
    for (let layer = 0; layer < layers; layer++) {
      const chosen = Array.from({ length: heads }, (_, head) => head).filter(
        (head) => this.#random.uniform() < 0.03 + (0.9 * head) / heads,
      );
      this.#given.choose('heads', layer, chosen);
    }
  }

  #ids(count: number): Int32Array {
    return Int32Array.from({ length: count }, () => Math.floor(300 * this.#random.uniform()));
  }

  async prefill(text: number, count: number): Promise<void> {
    this.logits.push(await this.batch.prefill(text, this.#ids(count)));
  }

  /** One token at a time to all these texts. */
  async decode(texts: number[], steps: number, { other = false, any = true } = {}): Promise<void> {
    for (let step = 0; step < steps; step++) {
      if (any) this.#chooseAny();
      const method = other ? this.#other : this.#given;
      this.logits.push(await this.batch.decode(texts, this.#ids(texts.length), method));
      this.usages.push(await this.batch.usage());
    }
  }

  /** One token whose loss is measured: another step of the same method. */
  async measure(text: number): Promise<void> {
    this.#chooseAny();
    const [id, target] = [this.#ids(1), this.#ids(1)];
    const ask = { logits: 'all', measure: 'loss', method: this.#given, expected: target } as const;
    this.logits.push(await this.batch.extend(rowsOf(text, id), ask, (step) => step.measured()));
  }

  [Symbol.dispose](): void {
    this.batch[Symbol.dispose]();
    this.#given[Symbol.dispose]();
  }
}

/** What a text goes through. */
const scripts: Readonly<Record<string, (play: Play) => Promise<void>>> = {
  'one text, from its first token': async (play) => {
    const text = play.batch.admit();
    await play.decode([text], 64);
  },
  'a text that is cut back': async (play) => {
    const text = play.batch.admit();
    await play.prefill(text, 5);
    await play.decode([text], 21);
    for (const back of [1, 3, 12, 20, 16]) {
      play.batch.truncate(text, play.batch.length(text) - back);
      await play.decode([text], 18);
    }
    play.batch.truncate(text, 2);
    await play.decode([text], 20);
    play.batch.truncate(text, 0);
    await play.decode([text], 20);
  },
  'prefill between steps, also after cutting back': async (play) => {
    const text = play.batch.admit();
    await play.decode([text], 7);
    await play.prefill(text, 20);
    await play.decode([text], 9);
    play.batch.truncate(text, play.batch.length(text) - 4);
    await play.prefill(text, 3);
    await play.decode([text], 20);
    play.batch.truncate(text, 10);
    await play.prefill(text, 25);
    await play.decode([text], 20);
  },
  'methods that take turns': async (play) => {
    const text = play.batch.admit();
    await play.prefill(text, 3);
    for (const steps of [3, 20, 1, 9]) {
      await play.decode([text], steps);
      await play.decode([text], steps, { other: true });
    }
    play.batch.truncate(text, 30);
    await play.decode([text], 6, { other: true });
    play.batch.truncate(text, 20);
    await play.decode([text], 20);
  },
  'texts alone and together, that come and go': async (play) => {
    const [a, b] = [play.batch.admit(), play.batch.admit()];
    await play.prefill(a, 4);
    for (let turn = 0; turn < 12; turn++) {
      await play.decode([a], 1);
      await play.decode([b], 2);
    }
    await play.decode([b, a], 2);
    await play.decode([a], 5);
    play.batch.release(a);
    const c = play.batch.admit();
    await play.decode([c], 18);
    await play.decode([b], 3);
    await play.decode([c, b], 1);
    await play.decode([c], 3);
  },
  'steps that are no longer kept': async (play) => {
    const [a, b] = [play.batch.admit(), play.batch.admit()];
    await play.decode([a], 3);
    for (let n = 0; n < 4; n++) await play.measure(a);
    for (let n = 1; n < 8; n++) await play.prefill(b, n);
    await play.decode([a], 20);
  },
};

async function played(engine: Engine, keys: Keys, script: (play: Play) => Promise<void>) {
  using play = new Play(engine, keys);
  await script(play);
  const { logits, usages } = play;
  return { logits, usages, resident: play.batch.cache.residentBytes };
}

/** The first run after which the logits are not the same bit for bit; -1: all are. */
const firstGap = (a: readonly Float32Array[], b: readonly Float32Array[]): number =>
  a.findIndex((row, run) => row.some((x, i) => !Object.is(x, b[run][i])));

const total = (usages: readonly StepUsage[]): number =>
  usages.reduce((sum, { weights }) => sum + weights, 0);

async function expectSame(engine: Engine, script: (play: Play) => Promise<void>): Promise<void> {
  const [later, atOnce] = [
    await played(engine, 'chosen', script),
    await played(engine, 'all', script),
  ];
  expect(firstGap(later.logits, atOnce.logits), 'first run that differs').toBe(-1);
  expect(later.logits.flatMap((row) => Array.from(row)).every(Number.isFinite)).toBe(true);
  expect(total(later.usages)).toBeLessThan(total(atOnce.usages));
}

/** The reference takes its time: one family of each kind of positions. */
const families = (backend: string): string[] =>
  readdirSync(folder).filter(
    (name) => backend !== reference.name || ['gpt-neox', 'mpt-clip', 'opt'].includes(name),
  );

describe.each(opens)('%s', (backend) => {
  describe.each(families(backend))('%s', (name) => {
    let engine: Engine;
    beforeAll(async () => {
      engine = await Engine.open(folder + name, { backend, weights: 'f32', sparsity: 'dense' });
    });
    afterAll(() => engine[Symbol.asyncDispose]());

    /** Heads share keys; of mpt-foundry a norm of all heads' keys. */
    const needsAll = (): boolean =>
      engine.description.heads > engine.description.kvHeads || name === 'mpt-foundry';

    it('computes them later where heads have keys of their own', async () => {
      const { heads, layers, headDim, hiddenSize } = engine.description;
      using play = new Play(engine, 'chosen');
      using all = new Play(engine, 'all');
      const steps = 2 * backlogRows + 3;
      for (const each of [play, all]) {
        const text = each.batch.admit();
        await each.prefill(text, 3);
        each.choose([1]);
        await each.decode([text], steps, { any: false });
      }
      const head = 2 * 4 * headDim * hiddenSize;
      const saved = all.usages.map(({ weights }, i) => weights - play.usages[i].weights);
      // The other heads have missed as many as are kept at each P-th step.
      expect(saved).toEqual(
        Array.from({ length: steps }, (_, i) =>
          needsAll() || (i + 1) % backlogRows === 0 ? 0 : layers * (heads - 1) * head,
        ),
      );
      expect(firstGap(play.logits, all.logits), 'first run that differs').toBe(-1);
    });

    it.each(Object.keys(scripts))('%s', async (script) => {
      if (!needsAll()) await expectSame(engine, scripts[script]);
    });
  });

  it.each(['f16', 'int8', 'int4', 'int4g64z'] as const)('of %s weights', async (weights) => {
    for (const activations of ['f32', 'int8'] as const)
      for (const name of ['llama', 'opt']) {
        const options = { backend, weights, activations, sparsity: 'dense' } as const;
        await using engine = await Engine.open(folder + name, options);
        await expectSame(engine, scripts['one text, from its first token']);
        await expectSame(engine, scripts['prefill between steps, also after cutting back']);
      }
  });

  it('takes memory for it when it is first done', async () => {
    await using engine = await Engine.open(`${folder}opt`, { backend, sparsity: 'dense' });
    const { layers, kvHeads, headDim, hiddenSize } = engine.description;
    const kept = 2 * 4 * layers * 3 * kvHeads * 128 * headDim;
    using play = new Play(engine, 'chosen');
    const text = play.batch.admit();
    await play.prefill(text, 3);
    expect(play.batch.cache.residentBytes).toBe(kept);
    await play.decode([text], 1);
    const inputs = layers * 3 * 4 * (backlogRows * hiddenSize + kvHeads);
    expect(play.batch.cache.residentBytes).toBe(kept + inputs);
    expect(cacheBytes(full, cacheShape(engine.description, 128, 3))).toBe(kept + inputs);
  });
});

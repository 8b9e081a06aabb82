/**
 * KV policies on every family and every backend that opens here, over the tiny checkpoints of
 * test/data/parity: a policy with room for the whole text is the full cache, bit for bit; what it keeps is
 * what it says; skipped heads rank nothing.
 */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../src/engine/local.ts';
import type { Session } from '../src/engine/session.ts';
import type { KVOptions, KVPolicy, PolicyKind } from '../src/kv.ts';
import { budgetAt, budgetOf, createPolicy } from '../src/kv/parts/budget.ts';
import { slackOf } from '../src/kv/parts/layout.ts';
import { full } from '../src/kv/full.ts';
import { policies } from '../src/kv/index.ts';
import { dense } from '../src/sparsity/dense.ts';
import { type Given, given } from '../src/sparsity/given.ts';
import { backendsThatOpen } from './support/opens.ts';

const folder = fileURLToPath(new URL('data/parity/', import.meta.url));
const opens = await backendsThatOpen('kv');

const text = (length: number, which = 0): Int32Array =>
  Int32Array.from({ length }, (_, i) => (i * 37 + which * 101 + 5) % 331);

const kept = (kind: PolicyKind): KVPolicy['keeps'] =>
  kind.create({}, { context: 128, layers: 1 }).keeps;
const limited = policies.filter((kind) => kept(kind) !== 'all');
const evicting = limited.filter((kind) => kept(kind) !== 'chosen');
const choosing = policies.filter((kind) => kept(kind) === 'chosen');

/** Why a model cannot have a policy. */
function unable(policy: KVPolicy, { description }: Engine): string | undefined {
  if (policy.positions === 'original' || description.positions !== 'learned') return undefined;
  return 'its positions are learned: they cannot be moved';
}

/** A policy of this name in a context of so many tokens. */
function policyOf(name: string, options: KVOptions, layers: number): KVPolicy {
  const kind = policies.find((one) => one.name === name)!;
  const taken = Object.entries(options).filter(([o]) => kind.takes.includes(o as keyof KVOptions));
  return createPolicy(kind, Object.fromEntries(taken), { context: 128, layers });
}

/** A budget for a policy; snapkv's last 32 tokens stay whatever it is. */
const roomy = (name: string, tokens: number): number => (name === 'snapkv' ? 40 : tokens);

/** Logits after each token from `decoded` on, the others prefilled in pieces of these sizes. */
async function run(
  engine: Engine,
  policy: KVPolicy,
  ids: Int32Array,
  pieces: readonly number[],
): Promise<{ logits: Float32Array[]; kept: number[][] }> {
  using session = engine.session(dense, policy);
  const logits: Float32Array[] = [];
  let at = 0;
  for (const size of pieces) {
    logits.push(await session.prefill(ids.subarray(at, at + size)));
    at += size;
  }
  for (const id of ids.subarray(at)) logits.push(await session.decode(id));
  return { logits, kept: await keptOf(engine, session) };
}

async function keptOf(engine: Engine, session: Session): Promise<number[][]> {
  const { layers, kvHeads } = engine.description;
  const kept: number[][] = [];
  for (let layer = 0; layer < layers; layer++)
    for (let head = 0; head < kvHeads; head++) kept.push(await session.keptPositions(layer, head));
  return kept;
}

/** Let the next runs compute every head and neuron. */
function chooseAll({ description }: Engine, method: Given): void {
  for (let layer = 0; layer < description.layers; layer++)
    for (const site of ['heads', 'neurons'] as const)
      method.choose(
        site,
        layer,
        Array.from({ length: description[site] }, (_, i) => i),
      );
}

describe.each(opens)('%s', (backend) => {
  describe.each(readdirSync(folder))('%s', (name) => {
    let engine: Engine;
    beforeAll(async () => {
      engine = await Engine.open(folder + name, { backend, weights: 'f32', sparsity: 'dense' });
    });
    afterAll(() => engine[Symbol.asyncDispose]());

    it.each(limited.map((kind) => kind.name))(
      '%s with room for the whole text is the full cache, bit for bit',
      async (which) => {
        const ids = text(24);
        const policy = policyOf(
          which,
          { budget: 24, ...(which === 'snapkv' && { recent: 8 }) },
          engine.description.layers,
        );
        const { logits, kept } = await run(engine, policy, ids, [12, 7]);
        expect(logits).toEqual((await run(engine, full, ids, [12, 7])).logits);
        expect(kept.every((tokens) => tokens.length === 24)).toBe(true);
      },
    );

    it('a prompt in pieces is the prompt as a whole, in a full cache', async () => {
      const ids = text(40);
      const pieces = await run(engine, full, ids, [3, 1, 7, 2, 5, 6, 4, 7]);
      const singly = await run(engine, full, ids, []);
      expect(pieces.logits.at(-1)).toEqual(singly.logits[39]);
    });

    it.for(['window', 'streaming'])(
      '%s: a prompt in pieces is the prompt token by token',
      async (which, { skip }) => {
        const policy = policyOf(which, { recent: 5 }, engine.description.layers);
        const reason = unable(policy, engine);
        if (reason) skip(reason);
        const ids = text(36);
        const { logits } = await run(engine, policy, ids, [2, 5, 7, 7, 1, 6]);
        const singly = await run(engine, policy, ids, []);
        expect(logits.slice(6)).toEqual(singly.logits.slice(28));
        expect(logits.slice(6)).not.toEqual((await run(engine, full, ids, [])).logits.slice(28));
      },
    );

    it.for(evicting.map((kind) => kind.name))('%s keeps what it says', async (which, { skip }) => {
      const policy = policyOf(which, { budget: roomy(which, 13) }, engine.description.layers);
      const reason = unable(policy, engine);
      if (reason) skip(reason);
      const [slack, { sinks, recent }] = [slackOf(policy), budgetAt(policy, 0)];
      const { kept, logits } = await run(engine, policy, text(75), [40, 20]);
      for (const tokens of kept) {
        expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => a - b));
        expect(tokens.length).toBeGreaterThanOrEqual(budgetOf(policy));
        expect(tokens.length).toBeLessThanOrEqual(budgetOf(policy) + slack);
        const [first, last] = [tokens.slice(0, sinks), tokens.slice(-recent)];
        expect(first).toEqual(Array.from({ length: sinks }, (_, i) => i));
        if (recent) expect(last).toEqual(Array.from({ length: recent }, (_, i) => 75 - recent + i));
      }
      expect(logits.flatMap((row) => Array.from(row)).every(Number.isFinite)).toBe(true);
    });
  });

  describe('llama-gqa-tied', () => {
    let engine: Engine;
    beforeAll(async () => {
      engine = await Engine.open(`${folder}llama-gqa-tied`, { backend, weights: 'f32' });
    });
    afterAll(() => engine[Symbol.asyncDispose]());

    it.each(limited.map((kind) => kind.name))(
      '%s: texts together get what each gets alone',
      async (which) => {
        const policy = policyOf(which, { budget: roomy(which, 12) }, engine.description.layers);
        const texts = [text(90, 1), text(70, 2), text(85, 3)];
        using batch = engine.batch({ sequences: 3, method: dense, policy });
        const places = texts.map(() => batch.admit());
        for (const [i, ids] of texts.entries())
          await batch.prefill(places[i], ids.subarray(0, -20));
        const found: Float32Array[] = [];
        for (let step = 20; step > 0; step--)
          found.push(
            await batch.decode(
              places,
              texts.map((ids) => ids[ids.length - step]),
            ),
          );
        for (const [i, ids] of texts.entries()) {
          using session = engine.session(dense, policy);
          await session.prefill(ids.subarray(0, -20));
          for (const [step, id] of ids.subarray(-20).entries()) {
            const V = engine.description.vocabulary;
            const alone = await session.decode(id);
            expect(found[step].subarray(i * V, (i + 1) * V)).toEqual(alone);
          }
        }
      },
    );

    describe.each(choosing.map((kind) => kind.name))('%s', (which) => {
      const read = async (engine: Engine, policy: KVPolicy, length: number): Promise<number> => {
        using session = engine.session(dense, policy);
        await session.prefill(text(length));
        await session.decode(5);
        return (await session.usage()).kv;
      };

      it('keeps all, and reads what its budget says', async () => {
        const { layers } = engine.description;
        const policy = policyOf(which, { budget: 32 }, layers);
        using session = engine.session(dense, policy);
        await session.prefill(text(100));
        expect(session.kept).toBe(100);
        const [whole, chosen] = [await read(engine, full, 100), await read(engine, policy, 100)];
        if (policy.keeps !== 'chosen') throw new Error('it does not choose');
        // 101 tokens in the first layers, two pages of 16 in the others, and their bounds.
        const share = policy.choice.fullLayers / layers;
        expect(chosen / whole).toBeGreaterThan(share + (1 - share) * (32 / 101));
        expect(chosen / whole).toBeLessThan(share + (1 - share) * (32 / 101 + 2 / 16));
        const logits = await session.decode(5);
        using other = engine.session(dense, full);
        await other.prefill(text(100));
        expect(logits).not.toEqual(await other.decode(5));
      });

      it('a text that is cut back goes on as one that was never longer', async () => {
        const policy = policyOf(which, { budget: 32 }, engine.description.layers);
        using session = engine.session(dense, policy);
        await session.prefill(text(100));
        const left = session.truncate(70);
        expect(left).toBe(64);
        await session.prefill(text(90).subarray(left));
        using fresh = engine.session(dense, policy);
        await fresh.prefill(text(90));
        for (const id of [5, 17, 9])
          expect(await session.decode(id)).toEqual(await fresh.decode(id));
      });
    });

    it('a place in a batch forgets the text that had it', async () => {
      const policy = policyOf('h2o', { sinks: 2, budget: 12 }, engine.description.layers);
      using batch = engine.batch({ sequences: 1, method: dense, policy });
      const first = batch.admit();
      await batch.prefill(first, text(60, 1));
      batch.release(first);
      const again = batch.admit();
      const found = await batch.prefill(again, text(50, 2));
      expect(found).toEqual((await run(engine, policy, text(50, 2), [50])).logits[0]);
    });

    it('a text is cut back where nothing is missed, else to nothing', async () => {
      for (const [which, left] of [
        ['streaming', 53],
        ['h2o', 0],
      ] as const) {
        const policy = policyOf(which, { budget: 12 }, engine.description.layers);
        using session = engine.session(dense, policy);
        const ids = text(60);
        await session.prefill(ids);
        expect(session.truncate(60)).toBe(60);
        expect(session.truncate(53)).toBe(left);
        expect(await session.prefill(ids.subarray(left))).toEqual(
          (await run(engine, policy, ids, [60])).logits[0],
        );
        expect(session.truncate(30)).toBe(0);
        expect([session.length, session.kept]).toEqual([0, 0]);
      }
    });

    it('heads that nobody computes rank nothing: their KV head keeps its scores', async () => {
      const { heads, kvHeads } = engine.description;
      const policy = policyOf('h2o', { sinks: 2, heavy: 6, recent: 4 }, engine.description.layers);
      const group = heads / kvHeads;
      const ids = text(40);
      using method = given(engine.backend, engine.description);
      const kept = async (chosen: readonly number[]): Promise<number[][]> => {
        using session = engine.session(method, policy);
        chooseAll(engine, method);
        for (const id of ids.subarray(0, 12)) await session.decode(id);
        method.choose('heads', 0, chosen);
        for (const id of ids.subarray(12)) await session.decode(id);
        const found: number[][] = [];
        for (let head = 0; head < kvHeads; head++) found.push(await session.keptPositions(0, head));
        return found;
      };
      const [first, last] = await kept(Array.from({ length: group }, (_, h) => h));
      const everyone = await kept(Array.from({ length: heads }, (_, h) => h));
      // The first KV head is looked at as before; what the last one was never shown stays, what came since
      // is unknown to it and never ousts what it has seen but by being the oldest unknown.
      expect(first).toEqual(everyone[0]);
      expect(last).not.toEqual(everyone.at(-1));
      const unseen = last.filter((token) => token >= 12);
      expect(unseen.length).toBe(10);
    });

    it('a selection of all heads is dense under every policy, bit for bit', async () => {
      using method = given(engine.backend, engine.description);
      chooseAll(engine, method);
      for (const { name } of policies) {
        const policy = policyOf(
          name,
          name === 'full' ? {} : { budget: roomy(name, 12) },
          engine.description.layers,
        );
        using sparse = engine.session(method, policy);
        using whole = engine.session(dense, policy);
        for (const id of text(80)) expect(await sparse.decode(id)).toEqual(await whole.decode(id));
      }
    });
  });
});

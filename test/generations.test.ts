/**
 * Generations that are under way on one batch: each gives what it gives alone, whoever comes, goes or fails
 * beside it. They are dense or exact, so that nothing is chosen for several texts together.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Batch } from '../src/engine/batch.ts';
import type { GenerateOptions, GenerateResult } from '../src/engine/generate.ts';
import type { Generation } from '../src/engine/generation.ts';
import { Engine } from '../src/engine/local.ts';
import { Steps } from '../src/engine/steps.ts';
import type { Sparsity } from '../src/sparsity.ts';
import { codeOf } from './support/code-of.ts';
import { tinyModel } from './support/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'dejavu-generations-'));
let engine: Engine;
beforeAll(async () => {
  const options = { weights: 'f32', sparsity: 'dense', context: 1024 } as const;
  engine = await Engine.open(tinyModel(folder, 'llama-relu'), options);
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});
afterEach(() => vi.restoreAllMocks());

const prompt = (which: number, length: number): number[] =>
  Array.from({ length }, (_, i) => (i * 37 + which * 101 + 5) % 331);

/** Steps as they run from now on, by any batch: decode steps as their texts' places, chunks of prompts as `+rows`. */
function notingSteps(): string[] {
  const steps: string[] = [];
  const run = Reflect.get<Steps, 'run'>(Steps.prototype, 'run');
  vi.spyOn(Steps.prototype, 'run').mockImplementation(function (this: Steps, rows, ask) {
    steps.push(ask.method ? [...rows.sequences].join('') : `+${rows.tokens.length}`);
    return run.call(this, rows, ask);
  });
  return steps;
}

const idsOf = async (generation: Generation): Promise<readonly number[]> =>
  (await generation.result).ids;

interface Request {
  readonly prompt: readonly number[];
  readonly options: GenerateOptions;
  /** The consumer leaves after so many pieces. */
  readonly leaves?: number | undefined;
  /** Turns of the event loop that it takes over a piece, and before it begins. */
  readonly slow: number;
  readonly waits: number;
}

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

const known = new Map<string, Promise<GenerateResult>>();

/** What it gives alone. */
function alone({ prompt, options }: Request): Promise<GenerateResult> {
  const key = JSON.stringify([prompt, options]);
  const result = known.get(key) ?? engine.generate(prompt, options).result;
  known.set(key, result);
  return result;
}

/** What it gives in a batch, to a consumer such as it has. */
async function serve(batch: Batch, { prompt, options, leaves, slow, waits }: Request) {
  await turns(waits);
  const generation = engine.generate(prompt, { ...options, batch });
  let pieces = 0;
  for await (const { id } of generation) {
    if (id < 0 || ++pieces === leaves) break;
    await turns(slow);
  }
  return generation.result;
}

const requests: fc.Arbitrary<Request> = fc.record({
  prompt: fc
    .tuple(fc.nat(5), fc.constantFrom(1, 2, 7, 30, 300))
    .map(([which, length]) => prompt(which, length)),
  options: fc.record({
    temperature: fc.constantFrom(0, 1),
    seed: fc.nat(3),
    maxTokens: fc.integer({ min: 1, max: 12 }),
    ignoreEnd: fc.boolean(),
    repeatPenalty: fc.constantFrom(1, 1.3),
  }),
  leaves: fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }),
  slow: fc.constantFrom(0, 0, 3),
  waits: fc.nat(6),
});

describe('generations on one batch', () => {
  it('give the ids that each gives alone, whoever comes and goes', async () => {
    const places = fc.integer({ min: 1, max: 4 });
    const all = fc.array(requests, { minLength: 1, maxLength: 7 });
    await fc.assert(
      fc.asyncProperty(places, all, async (sequences, asked) => {
        const expected: GenerateResult[] = [];
        for (const request of asked) expected.push(await alone(request));
        using batch = engine.batch({ sequences, context: 320 });
        const waiting = [...asked.entries()];
        const worker = async (): Promise<void> => {
          for (let next = waiting.shift(); next; next = waiting.shift()) {
            const [i, request] = next;
            const { ids } = await serve(batch, request);
            expect(ids).toEqual(expected[i].ids.slice(0, request.leaves));
          }
        };
        await Promise.all(Array.from({ length: sequences }, worker));
        expect(batch.free).toBe(sequences);
      }),
      { numRuns: 40 },
    );
  });

  it('share decode steps, and join those that are under way', async () => {
    using batch = engine.batch({ sequences: 3 });
    const options = { temperature: 0, ignoreEnd: true, batch };
    const steps = notingSteps();
    const first = engine.generate(prompt(0, 3), { ...options, maxTokens: 9 });
    let later: Promise<readonly (readonly number[])[]> | undefined;
    let count = 0;
    for await (const { id } of first)
      if (id >= 0 && ++count === 3)
        later = Promise.all(
          [5, 7].map((maxTokens, i) =>
            idsOf(engine.generate(prompt(1 + i, 4), { ...options, maxTokens })),
          ),
        );
    expect((await later)?.map((ids) => ids.length)).toEqual([5, 7]);
    expect(steps).toEqual([
      ...['+3', '0', '0', '0', '+4', '+4'],
      ...['012', '012', '012', '012', '02', '2'],
    ]);
  });

  it('end at stop texts as each does alone', async () => {
    const all = [0, 1, 2].map((which) => ({
      prompt: prompt(which, 5),
      options: { temperature: 1, seed: which, maxTokens: 20, ignoreEnd: true },
    }));
    using batch = engine.batch({ sequences: 3 });
    const stops: string[][] = [];
    for (const { prompt, options } of all) {
      const { text } = await engine.generate(prompt, options).result;
      stops.push([text.slice(6, 8)]);
    }
    const expected: GenerateResult[] = [];
    for (const [i, { prompt, options }] of all.entries())
      expected.push(await engine.generate(prompt, { ...options, stop: stops[i] }).result);
    const found = await Promise.all(
      all.map(({ prompt, options }, i) => {
        return engine.generate(prompt, { ...options, stop: stops[i], batch }).result;
      }),
    );
    for (const [i, { ids, text, finishReason }] of found.entries()) {
      expect({ ids, text, finishReason }).toEqual({
        ids: expected[i].ids,
        text: expected[i].text,
        finishReason: 'stop',
      });
      expect(text.length).toBeGreaterThan(0);
    }
  });

  it('do not wait for the end of a long prompt', async () => {
    using batch = engine.batch({ sequences: 2 });
    const options = { temperature: 0, ignoreEnd: true, batch };
    const short = { prompt: prompt(0, 4), options: { ...options, maxTokens: 8 } };
    const long = { prompt: prompt(1, 700), options: { ...options, maxTokens: 2 } };
    const expected = [short, long].map(({ prompt, options: { batch: _, ...others } }) =>
      idsOf(engine.generate(prompt, others)),
    );
    await Promise.all(expected);
    const steps = notingSteps();
    const both = [short, long].map(({ prompt, options }) =>
      idsOf(engine.generate(prompt, options)),
    );
    expect(await Promise.all(both)).toEqual(await Promise.all(expected));
    expect(steps.slice(0, 7)).toEqual(['+4', '+256', '0', '+256', '0', '+188', '01']);
  });

  it('are not held back by one that is read slowly', async () => {
    using batch = engine.batch({ sequences: 2 });
    const options = { temperature: 0, ignoreEnd: true, batch };
    const steps = notingSteps();
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const patient = engine.generate(prompt(0, 3), { ...options, maxTokens: 4 });
    const slow = (async () => {
      for await (const { id } of patient) if (id >= 0) await held;
      return idsOf(patient);
    })();
    const fast = await idsOf(engine.generate(prompt(1, 3), { ...options, maxTokens: 12 }));
    expect(fast).toHaveLength(12);
    expect(steps.filter((step) => step.includes('0'))).toHaveLength(1);
    release();
    expect(await slow).toEqual(
      await idsOf(engine.generate(prompt(0, 3), { temperature: 0, ignoreEnd: true, maxTokens: 4 })),
    );
  });

  it('may each ask a method of their own; a step is of one', async () => {
    using batch = engine.batch({ sequences: 3 });
    const [exact, oracle] = [engine.method('exact'), engine.method('oracle', { neurons: 0.4 })];
    const options = { temperature: 0, ignoreEnd: true, maxTokens: 6 };
    const asked = [{}, { method: exact }, { method: oracle }];
    const expected: (readonly number[])[] = [];
    for (const method of asked)
      expected.push(await idsOf(engine.generate(prompt(0, 5), { ...options, ...method })));
    const steps = notingSteps();
    const found = await Promise.all(
      asked.map((method) => engine.generate(prompt(0, 5), { ...options, ...method, batch }).result),
    );
    expect(found.map(({ ids }) => ids)).toEqual(expected);
    expect(found.map(({ sparsity }) => sparsity)).toEqual(['dense', 'exact', 'oracle']);
    expect(found.map(({ density }) => density.neurons)[2]).toBeCloseTo(0.4, 1);
    expect(steps.filter((step) => /^\d/.test(step)).every((step) => step.length === 1)).toBe(true);
  });

  it('go on beside one that fails', async () => {
    using batch = engine.batch({ sequences: 3 });
    const options = { temperature: 0, ignoreEnd: true, maxTokens: 6 };
    const broken: Sparsity = {
      name: 'broken',
      begin: () => {
        throw new Error('a method that cannot');
      },
    };
    const expected = await idsOf(engine.generate(prompt(0, 5), options));
    const [first, second, third] = await Promise.allSettled([
      idsOf(engine.generate(prompt(0, 5), { ...options, batch })),
      idsOf(engine.generate(prompt(1, 5), { ...options, batch, method: broken })),
      idsOf(engine.generate(prompt(0, 5), { ...options, batch })),
    ]);
    expect([first, third]).toMatchObject([{ value: expected }, { value: expected }]);
    expect(second).toMatchObject({ reason: { message: 'a method that cannot' } });
    expect(batch.free).toBe(3);
  });

  it('end at the end of what a text of the batch may have', async () => {
    using batch = engine.batch({ sequences: 2, context: 8 });
    const options = { temperature: 0, ignoreEnd: true, batch };
    const { ids, finishReason } = await engine.generate(prompt(0, 5), options).result;
    expect([ids.length, finishReason]).toEqual([4, 'length']);
    expect(await codeOf(engine.generate(prompt(0, 9), options).result)).toBe('PROMPT_TOO_LONG');
    expect(batch.free).toBe(2);
  });
});

describe('what a request asks for', () => {
  it('is one method for all that ask alike, and refused where it is of no use', async () => {
    const books = await Engine.open('books-6m', { backend: 'reference' });
    const method = books.method('predictor', { maxLoss: 0.05 });
    expect(books.method('predictor', { maxLoss: 0.05 })).toBe(method);
    expect(books.method('predictor')).not.toBe(method);
    const density = async (method: Sparsity): Promise<number> =>
      (await books.generate([5, 17, 9], { method, maxTokens: 8, ignoreEnd: true }).result).density
        .neurons;
    const [near, far] = [await density(books.method('predictor')), await density(method)];
    expect(far).toBeLessThan(near);
    const bad = { code: 'BAD_REQUEST' };
    expect(() => books.method('exact', { neurons: 0.5 })).toThrow(expect.objectContaining(bad));
    expect(() => engine.method('oracle', { recall: 0.9 })).toThrow(
      expect.objectContaining({ code: 'NO_PREDICTOR' }),
    );
    await books[Symbol.asyncDispose]();
  });

  it('is a policy in a cache of its own', async () => {
    const policy = engine.policyOf('streaming', { kvBudget: 16 });
    const ids = prompt(0, 30);
    const { kv } = await engine.generate(ids, { policy, maxTokens: 4, ignoreEnd: true }).result;
    expect([kv.policy, kv.keptTokens]).toEqual(['streaming', 16]);
    expect(() => engine.policyOf('full', { sinks: 4 })).toThrow(
      expect.objectContaining({ code: 'BAD_REQUEST' }),
    );
    using batch = engine.batch({ sequences: 1, policy });
    const same = engine.policyOf('streaming', { kvBudget: 16 });
    expect(await codeOf(engine.generate(ids, { batch, policy: same }).result)).toBe('none');
    const other = engine.policyOf('streaming', { kvBudget: 17 });
    expect(await codeOf(engine.generate(ids, { batch, policy: other }).result)).toBe('BAD_REQUEST');
  });
});

describe('a prompt', () => {
  const greedy = { temperature: 0, ignoreEnd: true, maxTokens: 5 };

  it('is not computed again where a session has its beginning', async () => {
    using batch = engine.batch({ sequences: 1 });
    using session = batch.text();
    const [first, second] = [prompt(0, 50), [...prompt(0, 40), ...prompt(3, 9)]];
    await engine.generate(first, { ...greedy, session }).result;
    expect(session.common(second)).toBe(40);
    const steps = notingSteps();
    const found = await idsOf(engine.generate(second, { ...greedy, session }));
    expect(steps[0]).toBe('+9');
    expect(found).toEqual(await idsOf(engine.generate(second, greedy)));
    expect(session.ids).toEqual([...second, ...found.slice(0, -1)]);
    expect(session.reuse(second)).toBe(48);
  });

  it('has log-probabilities of its ids, and may be all that is asked for', async () => {
    const ids = prompt(0, 300);
    const asked = { ...greedy, promptLogprobs: 3 };
    const { promptLogprobs, ...result } = await engine.generate(ids, asked).result;
    expect(result.ids).toEqual(await idsOf(engine.generate(ids, greedy)));
    using session = engine.session();
    const losses = await session.score(Int32Array.from(ids), Int32Array.from([...ids.slice(1), 0]));
    expect(promptLogprobs).toHaveLength(300);
    expect(promptLogprobs![0]).toBeNull();
    promptLogprobs!.slice(1).forEach((entry, i) => {
      expect(entry!.id).toBe(ids[i + 1]);
      expect(entry!.logprob).toBeCloseTo(-losses[i], 4);
      expect(entry!.top).toHaveLength(3);
      for (const { id, logprob } of entry!.top)
        if (id === entry!.id) expect(logprob).toBe(entry!.logprob);
    });
    const none = await engine.generate(ids, { ...asked, maxTokens: 0 }).result;
    expect(none).toMatchObject({ ids: [], text: '', finishReason: 'length' });
    expect(none.promptLogprobs).toEqual(promptLogprobs);
    expect(await codeOf(engine.generate(ids, { maxTokens: 0 }).result)).toBe('BAD_REQUEST');
  });
});

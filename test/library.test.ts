import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import * as library from '../src/index.ts';
import {
  type BackendName,
  backends,
  bench,
  defineTask,
  Engine,
  evaluate,
  memoryFolder,
  type MethodName,
  methods,
  policies,
  type PolicyName,
} from '../src/index.ts';

const model = fileURLToPath(new URL('data/parity/llama-relu', import.meta.url));
const prompt = [5, 17, 9];

test('the surface is what is listed here', () => {
  expect(Object.keys(library).sort()).toEqual([
    ...[
      'Chat',
      'Engine',
      'EngineError',
      'Generation',
      'Likelihoods',
      'TextStream',
      'Usage',
      'backends',
      'bench',
      'blobFolder',
      'cachedModel',
      'choices',
      'createSampler',
      'defineTask',
      'errorCodes',
      'evaluate',
    ],
    ...[
      'failures',
      'families',
      'findGolden',
      'httpFolder',
      'inspect',
      'logProbability',
      'memoryFolder',
      'methods',
      'peers',
      'policies',
      'pull',
      'quantize',
    ],
    ...['readGolden', 'reference', 'tasks', 'train', 'verify'],
  ]);
});

test('names of the tables are types, so that an editor offers them', () => {
  // @ts-expect-error -- in no table of policies
  const policy: PolicyName = 'h3o';
  // @ts-expect-error -- in no table of methods
  const method: MethodName = 'sparse';
  // @ts-expect-error -- in no table of backends
  const backend: BackendName = 'gpu';
  const names = [...policies, ...methods, ...backends].map(({ name }) => name);
  expect(names.filter((name) => new Set<string>([policy, method, backend]).has(name))).toEqual([]);
  const known: [PolicyName, MethodName, BackendName] = ['h2o-compacted', 'exact', 'reference'];
  expect(names).toEqual(expect.arrayContaining(known));
});

test('pieces come one by one, and are the ids of the result', async () => {
  await using engine = await Engine.open(model);
  const generation = engine.generate(prompt, { maxTokens: 6, ignoreEnd: true });
  const seen: number[] = [];
  for await (const { id } of generation) seen.push(id);
  const { ids, finishReason } = await generation.result;
  expect(seen).toHaveLength(6);
  expect(ids).toEqual(seen);
  expect(finishReason).toBe('length');
});

test('leaving the loop ends the generation; what was generated stays', async () => {
  await using engine = await Engine.open(model);
  const generation = engine.generate(prompt, { maxTokens: 50, ignoreEnd: true });
  const seen: number[] = [];
  for await (const { id } of generation) if (seen.push(id) === 3) break;
  const { ids, finishReason } = await generation.result;
  expect(ids).toEqual(seen);
  expect(finishReason).toBe('abort');
});

test('a signal ends the generation after the step under way', async () => {
  await using engine = await Engine.open(model);
  const stop = new AbortController();
  const options = { maxTokens: 50, ignoreEnd: true, signal: stop.signal };
  const generation = engine.generate(prompt, options);
  const seen: number[] = [];
  for await (const { id } of generation) if (seen.push(id) === 3) stop.abort();
  const { ids, finishReason } = await generation.result;
  expect(ids).toEqual(seen);
  expect(ids).toHaveLength(3);
  expect(finishReason).toBe('abort');
});

test('generations of one engine do not disturb each other', async () => {
  await using engine = await Engine.open(model);
  const run = (seed: number) => engine.generate(prompt, { seed, maxTokens: 8 }).result;
  const alone = [await run(1), await run(2)];
  const together = await Promise.all([run(1), run(2)]);
  expect(together.map(({ ids }) => ids)).toEqual(alone.map(({ ids }) => ids));
});

test.each([[[]], [[0]], [[4, 1.5]]])('a bench of %j texts is refused', async (batch) => {
  const measured = bench({ model, weights: ['f32'] }, { batch });
  await expect(measured).rejects.toMatchObject({ code: 'BAD_REQUEST' });
});

test('texts decoded together come and go, and each gets what it gets alone', async () => {
  await using engine = await Engine.open(model);
  const greedy = { temperature: 0, maxTokens: 4, ignoreEnd: true };
  const prompts = [
    [5, 17, 9],
    [40, 2],
  ];
  const alone: (readonly number[])[] = [];
  for (const one of prompts) alone.push((await engine.generate(one, greedy).result).ids);

  using batch = engine.batch({ sequences: 2 });
  const likeliest = (logits: Float32Array): number => logits.indexOf(Math.max(...logits));
  const begin = async (ids: number[]) => {
    const text = batch.admit();
    return { text, ids: [likeliest(await batch.prefill(text, engine.encode(ids)))] };
  };
  const first = await begin(prompts[0]);
  const more = async (...texts: { text: number; ids: number[] }[]): Promise<void> => {
    const last = texts.map(({ ids }) => ids[ids.length - 1]);
    const logits = await batch.decode(
      texts.map(({ text }) => text),
      last,
    );
    const size = logits.length / texts.length;
    texts.forEach(({ ids }, i) => ids.push(likeliest(logits.subarray(i * size, (i + 1) * size))));
  };
  await more(first);
  const second = await begin(prompts[1]);
  await more(first, second);
  await more(second, first);
  batch.release(first.text);
  await more(second);
  expect([first.ids, second.ids]).toEqual(alone);
  expect(batch.free).toBe(1);
});

test.each([[[1.5]], [[-1]], [[NaN]], [[2 ** 32 + 5]]])('ids %j are refused', async (ids) => {
  await using engine = await Engine.open(model);
  await expect(engine.generate(ids).result).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  await expect(engine.generate([]).result).rejects.toMatchObject({ code: 'BAD_TEXT' });
});

test('a task of your own runs like ours, and unused options are refused', async () => {
  await using engine = await Engine.open(model);
  const first = defineTask({
    name: 'first',
    summary: 'half of what is scored, times a factor',
    version: 3,
    options: { factor: { kind: 'number', least: 0, most: 10, help: 'a factor (default: 1)' } },
    run: (_, { factor = 1 }, { limit }) =>
      Promise.resolve({ metrics: { half: (factor * limit!) / 2 }, n: limit! }),
  });
  const { results, sparsity } = await evaluate(engine, [first], { text: 'a', limit: 8, factor: 1 });
  expect(results).toEqual({ first: { metrics: { half: 4 }, n: 8, version: 3 } });
  expect(sparsity).toBe('dense');
  const refused = async (options: object, says: RegExp): Promise<void> => {
    const asked = evaluate(engine, [first], { text: 'a', ...options });
    await expect(asked).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(asked).rejects.toThrow(says);
  };
  await refused({ window: 8 }, /`window` is given, but none of first uses it/);
  await refused({ data: memoryFolder({}) }, /`data` is given, but none of first uses it/);
  await refused({ text: undefined }, /first: `text` is missing/);
  await refused({ factr: 2 }, /"factr", expected perhaps `factor`/);
  await refused({ factor: 11 }, /`factor` is 11, expected a number from 0 to 10/);
  await refused({ factor: 'x' }, /`factor` is "x", expected a number/);
  await refused({ limit: 0 }, /`limit` is 0/);
  await refused({ files: ['t.txt'] }, /`files` and `text`/);
});

/** Every task of the table runs under dense, a method that leaves out, and a policy that evicts; items are scored as served. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import * as z from 'zod/mini';
import { optionsOf } from '../src/eval/asked.ts';
import type { EvaluateResult } from '../src/eval/evaluate.ts';
import { readItems } from '../src/eval/items.ts';
import { runOf } from '../src/eval/run.ts';
import type { Task } from '../src/eval/task.ts';
import {
  choices,
  defineTask,
  Engine,
  evaluate,
  Likelihoods,
  memoryFolder,
  type OpenOptions,
  tasks,
} from '../src/index.ts';
import { dejavu, dejavuJson } from './support/dejavu.ts';
import { tinyModel } from './support/tiny-model.ts';

const items = fileURLToPath(new URL('data/items/', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'dejavu-tasks-'));
const model = tinyModel(folder, 'llama-relu');
afterAll(() => rmSync(folder, { recursive: true }));

const open = (options: OpenOptions = {}): Promise<Engine> =>
  Engine.open(model, { backend: 'reference', ...options });
const text = readFileSync(join(items, 'piqa.jsonl'), 'utf8').slice(0, 300);
const limit = 5;

describe.each(tasks as readonly Task[])('$name', (task) => {
  const input = task.items ? { data: items } : { text };

  test.each<[string, OpenOptions, { neurons: number; heads: number }]>([
    ['dense', { sparsity: 'dense' }, { neurons: 1, heads: 1 }],
    ['random', { sparsity: 'random', neurons: 0.5, heads: 0.5 }, { neurons: 0.5, heads: 0.5 }],
    ['streaming', { kv: 'streaming', sinks: 1, recent: 2 }, { neurons: 1, heads: 1 }],
  ])('under %s', async (name, options, density) => {
    await using engine = await open({ ...options, weights: 'f32' });
    const shares: number[] = [];
    const onProgress = (of: string, share: number) => {
      expect(of).toBe(task.name);
      shares.push(share);
    };
    const result = await evaluate(engine, [task], { ...input, limit, onProgress });
    const { metrics, n, version } = result.results[task.name];
    expect({ n, version }).toEqual({ n: limit, version: task.version });
    expect(Object.keys(metrics).length).toBeGreaterThan(0);
    for (const value of Object.values(metrics)) expect(Number.isFinite(value)).toBe(true);
    expect(shares.at(-1)).toBe(1);
    expect(shares).toEqual(shares.toSorted((a, b) => a - b));
    expect(result.density).toMatchObject(density);
    expect(result.sparsity).toBe(engine.sparsity.name);
    expect(result.kv.policy).toBe(engine.policy.name);
    const { weights, dense } = result.bytesPerToken;
    expect(weights / dense).toBeCloseTo(density.neurons < 1 ? 0.6 : 1, density.neurons < 1 ? 0 : 9);
    // Another method changes what is scored, in the same engine too.
    const plain = await evaluate(engine, [task], {
      ...{ ...input, limit, method: engine.method('dense'), policy: engine.policyOf('full') },
    });
    const same = JSON.stringify(plain.results[task.name].metrics) === JSON.stringify(metrics);
    expect(same).toBe(name === 'dense');
    expect([plain.sparsity, plain.kv.policy]).toEqual(['dense', 'full']);
  });

  test('lacks what it scores', async () => {
    await using engine = await open();
    const name = task.items ? 'data' : 'text';
    await expect(evaluate(engine, [task])).rejects.toThrow(`${task.name}: \`${name}\` is missing`);
    const other = task.items ? { text, data: items } : { text, data: items };
    await expect(evaluate(engine, [task], other)).rejects.toThrow('none of');
  });
});

test('tasks that have an option of the same name mean the same', () => {
  for (const task of tasks as readonly Task[])
    for (const [name, { kind }] of optionsOf([task]))
      expect(optionsOf(tasks).get(name)).toMatchObject({ kind });
});

describe('likelihoods', () => {
  const contexts = ['The old clock on the wall', 'The old clock on the wall of the house', 'A'];
  const ends = [' was', ' of the house that stood there', '', ' '];

  test('are those of the whole text, computed at once', async () => {
    await using engine = await open();
    using likelihoods = new Likelihoods(engine, runOf(engine, {}));
    for (const context of contexts)
      for (const end of ends.slice(0, 2)) {
        const ids = engine.tokenizer.encode(context + end, { special: false });
        const first = engine.tokenizer.encode(context, { special: false }).length;
        using session = engine.session();
        const { logprobs } = await session.prefillWithLogprobs(Int32Array.from(ids), 1);
        const scored = logprobs.slice(first - 1);
        const found = await likelihoods.of(context, end);
        expect(found.logprob).toBeCloseTo(
          scored.reduce((sum, { logprob }) => sum + logprob, 0),
          4,
        );
        expect(found.greedy).toBe(scored.every(({ id, top }) => id === top[0].id));
        expect(found.shortened).toBe(false);
      }
  });

  test.each<OpenOptions>([
    { sparsity: 'random', neurons: 0.5, heads: 0.5 },
    { kv: 'streaming', sinks: 2, recent: 6 },
    { kv: 'h2o', kvBudget: 8 },
  ])('hang on no other that was asked before: %j', async (options) => {
    await using engine = await open(options);
    const alone: unknown[] = [];
    const pairs = contexts.flatMap((context) => ends.slice(0, 2).map((end) => [context, end]));
    for (const [context, end] of pairs) {
      using fresh = new Likelihoods(engine, runOf(engine, {}));
      alone.push(await fresh.of(context, end));
    }
    using likelihoods = new Likelihoods(engine, runOf(engine, {}));
    for (const order of [pairs, pairs.toReversed()])
      for (const pair of order)
        expect(await likelihoods.of(pair[0], pair[1])).toEqual(alone[pairs.indexOf(pair)]);
  });

  test("count space at a context's end as the continuation's", async () => {
    await using engine = await open();
    using likelihoods = new Likelihoods(engine, runOf(engine, {}));
    expect(await likelihoods.of('The old ', 'clock')).toEqual(
      await likelihoods.of('The old', ' clock'),
    );
  });

  test('of an empty context begin with what begins or ends a text', async () => {
    await using engine = await open();
    using likelihoods = new Likelihoods(engine, runOf(engine, {}));
    const [start] = [...engine.tokenizer.encode(''), ...engine.description.endIds];
    using session = engine.session();
    const [id, ...rest] = engine.tokenizer.encode('The', { special: false });
    let expected = 0;
    let before = start;
    for (const next of [id, ...rest]) {
      expected -= await session.scoreDecode(before, next);
      before = next;
    }
    expect((await likelihoods.of('', 'The')).logprob).toBeCloseTo(expected, 5);
  });

  test('lose the beginning of a context that is too long, and say so', async () => {
    await using engine = await open({ context: 24 });
    await using long = await open();
    const words = text
      .replaceAll(/[^a-z ]/gi, '')
      .slice(0, 60)
      .trim();
    const ids = engine.tokenizer.encode(`${words} the end`, { special: false });
    expect(ids.length).toBeGreaterThan(26);
    using likelihoods = new Likelihoods(engine, runOf(engine, {}));
    const found = await likelihoods.of(words, ' the end');
    const count = ids.length - engine.tokenizer.encode(words, { special: false }).length;
    using session = long.session();
    const kept = Int32Array.from(ids.slice(-25));
    const { logprobs } = await session.prefillWithLogprobs(kept, 0);
    const expected = logprobs.slice(-count).reduce((sum, { logprob }) => sum + logprob, 0);
    expect(found.shortened).toBe(true);
    expect(found.logprob).toBeCloseTo(expected, 4);
    await expect(likelihoods.of('a', ` ${words}`)).rejects.toMatchObject({ code: 'BAD_TEXT' });
    await expect(likelihoods.of('a', '')).rejects.toMatchObject({ code: 'BAD_TEXT' });
  });
});

test('a question is answered by the likeliest answer, by its characters or its bytes', async () => {
  const task = choices({
    ...{ name: 'mine', summary: 'mine', version: 1 },
    items: {
      file: 'mine.jsonl',
      item: z.object({ q: z.string(), a: z.array(z.string()), right: z.number() }),
    },
    ask: ({ q, a, right }) => ({ context: q, choices: a, gold: right }),
  });
  await using engine = await Engine.open('books-6m', { backend: 'reference', sparsity: 'dense' });
  using likelihoods = new Likelihoods(engine, runOf(engine, {}));
  const answers = ['he', 'the same thing over and over again', '“‘——”', 'x'];
  const logprobs: number[] = [];
  for (const answer of answers)
    logprobs.push((await likelihoods.of('It is', ` ${answer}`)).logprob);
  const best = (by: (answer: string) => number): number => {
    const scores = logprobs.map((logprob, i) => logprob / by(answers[i]));
    return scores.indexOf(Math.max(...scores));
  };
  const winners = [
    best(() => 1),
    best((answer) => answer.length),
    best((answer) => Buffer.byteLength(answer)),
  ];
  expect(new Set(winners).size).toBeGreaterThan(1);
  const right = [...winners, 3];
  const line = (gold: number): string => JSON.stringify({ q: 'It is', a: answers, right: gold });
  const data = memoryFolder({
    'mine.jsonl': new TextEncoder().encode(`${right.map(line).join('\n')}\n\n`),
  });
  const { results } = await evaluate(engine, [task], { data });
  const share = (winner: number): number => right.filter((gold) => gold === winner).length / 4;
  expect(results.mine.metrics).toMatchObject({
    acc: share(winners[0]),
    acc_norm: share(winners[1]),
    acc_bytes: share(winners[2]),
  });
  const p = share(winners[0]);
  expect(results.mine.metrics.acc_stderr).toBeCloseTo(Math.sqrt((p * (1 - p)) / 3), 12);
  const one = await evaluate(engine, [task], { data, limit: 1 });
  expect(one.results.mine).toMatchObject({ n: 1, metrics: { acc: 1 } });
  expect(one.results.mine.metrics).not.toHaveProperty('acc_stderr');
});

test('what a task generates runs the method and policy that are tested, and is counted', async () => {
  const seen: unknown[] = [];
  const task = defineTask({
    ...{ name: 'writes', summary: 'writes', version: 1 },
    async run(engine, _, { generate }) {
      const { sparsity, kv, ids } = await generate([5, 17, 9], { maxTokens: 6, ignoreEnd: true });
      const dense = { temperature: 0, maxTokens: 6, ignoreEnd: true };
      const plain = await engine.generate([5, 17, 9], dense).result;
      seen.push(sparsity, kv.policy, ids.join() === plain.ids.join());
      return { metrics: {}, n: 1 };
    },
  });
  await using engine = await open();
  const method = engine.method('random', { neurons: 0.25, heads: 0.5 });
  const policy = engine.policyOf('streaming', { sinks: 1, recent: 4 });
  const { density } = await evaluate(engine, [task], { text, method, policy });
  expect(seen).toEqual(['random', 'streaming', false]);
  expect(density.neurons).toBeCloseTo(0.25, 2);
  const signal = AbortSignal.abort();
  await expect(evaluate(engine, [task], { text, signal })).rejects.toThrow(/abort/i);
});

describe('a file of items', () => {
  const file = { file: 'x.jsonl', item: z.object({ a: z.number() }) };
  const read = (content: string | Uint8Array, limit?: number) =>
    readItems(
      memoryFolder({
        'x.jsonl': typeof content === 'string' ? new TextEncoder().encode(content) : content,
      }),
      file,
      limit,
    );

  test('is read line by line', async () => {
    expect(await read('{"a":1,"b":2}\r\n\n  \n{"a":3}')).toEqual([{ a: 1 }, { a: 3 }]);
    expect(await read('{"a":1}\n{"a":3}\n', 1)).toEqual([{ a: 1 }]);
  });

  test.each([
    ['', /x\.jsonl: holds no item/],
    ['{"a":1}\n{"a":"1"}', /x\.jsonl, line 2: a: /],
    ['{"a":1}\n{', /x\.jsonl, line 2: is not JSON/],
    ['{"a":1,"a":2}', /the key "a" occurs twice/],
    ['[]', /line 1: the line: /],
    [Uint8Array.of(0xff, 10), /line 1: is not text/],
  ])('%j is refused', async (content, says) => {
    await expect(read(content)).rejects.toMatchObject({ code: 'BAD_DATA' });
    await expect(read(content)).rejects.toThrow(says);
  });

  test('that is not there is refused before anything runs', async () => {
    await using engine = await open();
    await expect(
      evaluate(engine, ['perplexity', 'piqa'], { text, data: memoryFolder({}) }),
    ).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
  });
});

describe('dejavu eval', () => {
  const here = ['--backend', 'reference', '--threads', '1'];

  test('takes items of a folder', async () => {
    const argv = ['eval', model, ...here, '--tasks', 'piqa,lambada_openai', '--data', items];
    const { results } = await dejavuJson<EvaluateResult>([...argv, '--limit', '3']);
    expect(Object.keys(results)).toEqual(['piqa', 'lambada_openai']);
    expect(results.piqa).toMatchObject({ n: 3, version: 1 });
    const { stdout } = await dejavu([...argv, '--limit', '2']);
    expect(stdout).toMatch(/piqa acc +[01]\.\d{4}/);
  });

  test.each([
    [['--tasks', 'piqa', '--data', items, '--window', '64'], /--window is given, but none of piqa/],
    [['--tasks', 'piqa', '--text', items], /--text is given, but none of piqa/],
    [['--tasks', 'piqa'], /piqa: --data is missing/],
    [['--tasks', 'perplexity'], /perplexity: --text is missing/],
    [['--tasks', 'piqa', '--data', 'nowhere'], /nowhere/],
    [['--tasks', 'piqa', '--data', items, '--bucket', '0'], /--bucket/],
  ])('refuses %j before the model is opened', async (flags, says) => {
    const { status, stderr } = await dejavu(['eval', model, ...here, ...flags]);
    expect(status).toBeGreaterThan(0);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).toMatch(says);
  });
});

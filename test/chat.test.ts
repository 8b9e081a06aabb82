import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine, type Message } from '../src/index.ts';
import type { Session } from '../src/engine/session.ts';
import { turnEnd } from '../src/engine/turn-end.ts';
import { tinyModel } from './support/tiny-model.ts';

const template = `{% for m in messages %}{{ m.role }}: {{ m.content }}
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}`;
/** Special ids on both sides of a message: what a reply was generated as is what it is read as. */
const marked = `{% for m in messages %}{{ m.role }}{{ eos_token }}{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant{{ eos_token }}{% endif %}`;
const system = 'A tale of the sea.';
const greedy = { temperature: 0, maxTokens: 6 };

const folder = mkdtempSync(join(tmpdir(), 'dejavu-chat-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Ids of every prefill of every session, in order. */
const prefilled: number[][] = [];

/** The same engine, whose sessions note what they prefill. */
function noting(engine: Engine): Engine {
  const open = engine.session.bind(engine);
  engine.session = (...given): Session => {
    const session = open(...given);
    const prefill = session.prefill.bind(session);
    session.prefill = (ids, signal) => {
      prefilled.push(Array.from(ids));
      return prefill(ids, signal);
    };
    return session;
  };
  return engine;
}

const open = (context = 256): Promise<Engine> =>
  Engine.open('books-6m', { backend: 'reference', sparsity: 'dense', context });
let engine: Engine;
beforeAll(async () => {
  engine = noting(await open());
});
afterAll(() => engine[Symbol.asyncDispose]());

const said = (messages: readonly Message[]): unknown[] => messages.map(({ content }) => content);

describe('a conversation', () => {
  test('prefills only what is new, and goes on as the whole conversation would', async () => {
    using chat = engine.chat({ template: marked, system });
    prefilled.length = 0;
    const first = await chat.send('Who was there?', greedy).result;
    expect(prefilled).toEqual([first.promptIds]);
    expect(first.reusedTokens).toBe(0);

    const second = await chat.send('And then?', { ...greedy, logprobs: 3 }).result;
    // The latest id was sampled last: no step has added it to the cache.
    const kept = [...first.promptIds, ...first.ids.slice(0, -1)];
    expect(second.reusedTokens).toBe(kept.length);
    expect(second.promptIds.slice(0, kept.length)).toEqual(kept);
    expect(prefilled).toEqual([first.promptIds, second.promptIds.slice(second.reusedTokens)]);
    expect(chat.stats).toMatchObject({
      replies: 2,
      prefilledTokens: prefilled.flat().length,
      reusedTokens: second.reusedTokens,
    });

    const anew = await engine.generate(second.promptIds, { ...greedy, logprobs: 3 }).result;
    expect(second.ids).toEqual(anew.ids);
    second.logprobs!.forEach(({ logprob, top }, i) => {
      expect(logprob).toBeCloseTo(anew.logprobs![i].logprob, 4);
      expect(top.map(({ id }) => id)).toEqual(anew.logprobs![i].top.map(({ id }) => id));
    });
  });

  test('is written by the template, the reply included', async () => {
    using chat = engine.chat({ template, system });
    const { text, messages } = await chat.send('Who was there?', greedy).result;
    expect(messages).toEqual([
      { role: 'system', content: system },
      { role: 'user', content: 'Who was there?' },
      { role: 'assistant', content: text },
    ]);
    expect(chat.messages).toEqual(messages);
    const { promptIds } = await chat.send('And then?', greedy).result;
    expect(engine.tokenizer.decode(promptIds)).toBe(
      `system: ${system}\nuser: Who was there?\nassistant: ${text}\nuser: And then?\nassistant:`,
    );
  });

  test('can be taken back, tried again and begun anew', async () => {
    using chat = engine.chat({ template, system });
    const options = { maxTokens: 6, temperature: 1, seed: 3 };
    const first = await chat.send('Who was there?', options).result;
    const again = await chat.retry(options).result;
    expect(again.promptIds).toEqual(first.promptIds);
    expect(again.reusedTokens).toBe(first.promptIds.length - 1);
    expect(again.ids).not.toEqual(first.ids);
    expect(said(chat.messages)).toEqual([system, 'Who was there?', again.text]);

    const sure = await chat.retry(greedy).result;
    expect(sure.ids).toEqual((await engine.generate(first.promptIds, greedy).result).ids);

    await chat.send('And then?', options).result;
    chat.undo();
    expect(said(chat.messages)).toEqual([system, 'Who was there?', sure.text]);
    chat.reset();
    expect(said(chat.messages)).toEqual([system]);
    expect(() => chat.undo()).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
    expect(() => chat.retry()).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
    expect((await chat.send('Who was there?', options).result).promptIds).toEqual(first.promptIds);
  });

  test('the same seeds give the same conversation', async () => {
    const talk = async (): Promise<readonly Message[]> => {
      using chat = engine.chat({ template });
      await chat.send('Who?', { maxTokens: 5, seed: 9 }).result;
      return (await chat.send('Why?', { maxTokens: 5, seed: 9 }).result).messages;
    };
    expect(await talk()).toEqual(await talk());
  });

  test('another system message is read from the next turn on', async () => {
    using chat = engine.chat({ template, system });
    const first = await chat.send('Who?', greedy).result;
    chat.system = 'A tale of the hills.';
    const { promptIds, reusedTokens } = await chat.send('Why?', greedy).result;
    expect(engine.tokenizer.decode(promptIds)).toContain('system: A tale of the hills.\n');
    expect(reusedTokens).toBeLessThan(first.promptIds.length);
    const anew = await engine.generate(promptIds, greedy).result;
    expect(said(chat.messages).at(-1)).toBe(anew.text.split('\nuser:')[0]);
  });

  test('goes on from one that was saved', async () => {
    using chat = engine.chat({ template, system });
    await chat.send('Who?', greedy).result;
    using other = engine.chat({ template });
    other.load(chat.messages);
    expect(other.system).toBe(system);
    const [a, b] = [chat.send('Why?', greedy), other.send('Why?', greedy)];
    expect((await b.result).promptIds).toEqual((await a.result).promptIds);
  });

  test('an abort keeps what came, and a turn that has not begun is none', async () => {
    using chat = engine.chat({ template });
    const stop = new AbortController();
    const reply = chat.send('Who?', { ...greedy, maxTokens: 50, signal: stop.signal });
    let count = 0;
    for await (const { id } of reply) if (id >= 0 && ++count === 3) stop.abort();
    const { text, finishReason, messages } = await reply.result;
    expect(finishReason).toBe('abort');
    expect(said(messages)).toEqual(['Who?', text]);
    const none = await chat.send('Why?', { signal: AbortSignal.abort() }).result;
    expect(none.messages).toEqual(messages);
    const { promptIds } = await chat.send('Why?', greedy).result;
    const anew = await engine.generate(promptIds, greedy).result;
    expect(chat.messages.at(-1)?.content).toBe(anew.text.split('\nuser:')[0]);
  });

  test('gives one reply at a time', async () => {
    using chat = engine.chat({ template });
    for await (const { id } of chat.send('Who?', greedy)) {
      expect(id).toBeGreaterThanOrEqual(0);
      await expect(chat.send('Why?').result).rejects.toMatchObject({ code: 'BAD_REQUEST' });
      expect(() => chat.reset()).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
      break;
    }
    expect(said(chat.messages)[0]).toBe('Who?');
  });
});

test('a conversation that outgrows the context loses its oldest turns, not the system message', async () => {
  await using small = await open(80);
  using chat = small.chat({ template, system });
  const lengths: number[] = [];
  let dropped = 0;
  for (let turn = 0; turn < 9; turn++) {
    const question = `Number ${turn}, what of it?`;
    const { promptIds, droppedMessages, messages } = await chat.send(question, greedy).result;
    lengths.push(promptIds.length);
    const text = small.tokenizer.decode(promptIds);
    expect(text).toMatch(/^system: A tale of the sea\.\nuser: Number/);
    expect(text).toContain(question);
    expect(droppedMessages).toBeGreaterThanOrEqual(dropped);
    dropped = droppedMessages;
    expect(text.includes('Number 0')).toBe(dropped === 0);
    expect(messages).toHaveLength(1 + 2 * (turn + 1));
  }
  expect(dropped).toBeGreaterThan(0);
  expect(Math.max(...lengths)).toBeLessThanOrEqual(80 - 6);
  await expect(chat.send('sea '.repeat(90), greedy).result).rejects.toMatchObject({
    code: 'PROMPT_TOO_LONG',
  });
  expect(chat.stats.droppedMessages).toBe(dropped);
});

describe.each([
  { kv: 'streaming', kvBudget: 24 },
  { kv: 'h2o', kvBudget: 24 },
])('a cache that evicts: %j', ({ kv, kvBudget }) => {
  let keeping: Engine;
  beforeAll(async () => {
    const model = tinyModel(mkdtempSync(join(folder, kv)), 'llama');
    keeping = await Engine.open(model, { backend: 'reference', kv, kvBudget });
  });
  afterAll(() => keeping[Symbol.asyncDispose]());
  const sampled = { maxTokens: 6, temperature: 1, seed: 3 };

  test('turns taken back and tried again are read as if they were the first', async () => {
    using chat = keeping.chat({ template });
    const first = await chat.send('Who was there, and what of it?', sampled).result;
    expect(first.promptIds.length).toBeGreaterThan(kvBudget);
    await chat.send('And then?', sampled).result;
    chat.undo();
    const again = await chat.send('And what then?', greedy).result;
    const retried = await chat.retry(greedy).result;
    // What was evicted for many tokens that are taken back would be missed; for a few it is still there.
    expect(again.reusedTokens).toBe(0);
    expect(retried.reusedTokens).toBe(kv === 'streaming' ? again.promptIds.length - 1 : 0);
    const anew = await keeping.generate(again.promptIds, greedy).result;
    expect(again.ids).toEqual(anew.ids);
    expect(retried.ids).toEqual(anew.ids);
    expect(retried.kv.keptTokens).toBe(kvBudget);
  });
});

test('a conversation without end: replies are as long as the context at most, none is forgotten', async () => {
  const model = tinyModel(mkdtempSync(join(folder, 'endless')), 'llama');
  await using endless = await Engine.open(model, {
    ...{ backend: 'reference', kv: 'streaming', kvBudget: 16, context: 40 },
  });
  using chat = endless.chat({ template });
  const reply = await chat.send('a '.repeat(200), { temperature: 0, ignoreEnd: true }).result;
  expect(reply.promptIds.length).toBeGreaterThan(200);
  expect(reply.ids).toHaveLength(40);
  expect(chat.stats).toMatchObject({
    ...{ context: Infinity, cachedTokens: 16, cacheTokens: 16, droppedMessages: 0 },
  });
});

describe('where a reply ends', () => {
  const end = (source: string): unknown =>
    turnEnd(engine.tokenizer.chatTemplate(source, 'test'), engine.tokenizer);
  const write = (after: string): string =>
    `{% for m in messages %}[{{ m.role }}] {{ m.content }}${after}{% endfor %}`;

  test('is the special id that the template writes there', () => {
    const [id] = engine.tokenizer.encode('<|endoftext|>', { special: false });
    expect(end(write('{{ eos_token }}\n'))).toEqual({ ids: [id], texts: [] });
    expect(end(write(' {{ eos_token }}'))).toEqual({ ids: [id], texts: [] });
  });

  test('is the beginning of the next turn where it writes none', () => {
    expect(end(write('\n'))).toEqual({ ids: [], texts: ['\n[user]'] });
  });

  test('is unknown where other things come between, or the template refuses', () => {
    expect(end(write(' over{{ eos_token }}'))).toEqual({ ids: [], texts: [] });
    expect(end("{{ raise_exception('no') }}")).toEqual({ ids: [], texts: [] });
  });
});

test('a model without a template says what to do', () => {
  expect(() => engine.chat()).toThrow(
    expect.objectContaining({
      code: 'NO_CHAT_TEMPLATE',
      message: expect.stringContaining('`template`') as string,
    }),
  );
});

const smol = fileURLToPath(
  new URL('../../shared/models/SmolLM2-135M/SmolLM2-135M-Instruct.Q4_1.gguf', import.meta.url),
);
test.skipIf(!existsSync(smol))(`a model made for it: ${smol}`, { timeout: 60_000 }, async () => {
  await using talker = await Engine.open(smol, { context: 256, activations: 'f32' });
  using chat = talker.chat();
  const options = { temperature: 0, maxTokens: 24 };
  const first = await chat.send('What is the capital of France?', options).result;
  expect(first).toMatchObject({ text: 'The capital of France is Paris.', finishReason: 'stop' });
  const second = await chat.send('And of Italy?', options).result;
  expect(second.text).toBe('The capital of Italy is Rome.');
  expect(second.reusedTokens).toBe(first.promptIds.length + first.ids.length);
});

test('a system message may come in parts of text, and in no others', async () => {
  await using engine = await Engine.open('books-6m', { sparsity: 'dense' });
  const chat = engine.chat({ template: '{{ messages[0].content }}' });
  const system = (content: Message['content']): Message[] => [{ role: 'system', content }];
  chat.load(
    system([
      { type: 'text', text: 'Be ' },
      { type: 'text', text: 'brief.' },
    ]),
  );
  expect(chat.system).toBe('Be brief.');
  expect(() => chat.load(system([{ type: 'image' }]))).toThrow(/a part of type "image"/);
});

/** What a cache keeps of a text, asked for on the command line: generate, chat and eval under KV policies. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { argmax } from '../src/engine/sampler.ts';
import type { EvaluateResult } from '../src/eval/evaluate.ts';
import { type ChatResult, Engine, type GenerateResult, type OpenOptions } from '../src/index.ts';
import { dejavu, dejavuJson } from './support/dejavu.ts';
import { textsOf } from './support/svg-texts.ts';
import { tinyModel } from './support/tiny-model.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'dejavu-keeping-'));
afterAll(() => rmSync(folder, { recursive: true }));
/** Sees 256 tokens; layers, KV heads and their size. */
const llama = tinyModel(folder, 'llama');
const [layers, kvHeads, headDim] = [3, 4, 16];
const opt = tinyModel(folder, 'opt');

const here = ['--backend', 'reference'];
const open = (options: OpenOptions): Promise<Engine> =>
  Engine.open(llama, { backend: 'reference', ...options });
const prompt = (length: number): number[] => Array.from({ length }, (_, i) => (i * 37 + 5) % 331);
const generate = (length: number, ...rest: string[]): string[] => [
  ...['generate', llama, ...here, '--ids', prompt(length).join(), '--temperature', '0'],
  ...['--max-tokens', '12', ...rest],
];
const streaming = ['--kv', 'streaming', '--sinks', '2', '--recent', '14'];
/** Slots of a ring for 16 tokens. */
const slots = 23;

describe('generate', () => {
  test('goes on past the context, and holds what the policy keeps', async () => {
    const { ids, promptIds, finishReason, kv } = await dejavuJson<GenerateResult>(
      generate(300, ...streaming),
    );
    expect(promptIds).toHaveLength(300);
    expect(finishReason).toBe('length');
    expect(kv).toEqual({
      policy: 'streaming',
      residentBytes: layers * 2 * kvHeads * slots * headDim * 4,
      keptTokens: 16,
    });
    await using engine = await open({ kv: 'streaming', sinks: 2, recent: 14 });
    using session = engine.session();
    let logits = new Float32Array();
    for (const id of prompt(300)) logits = (await session.decode(id)) as typeof logits;
    const expected: number[] = [];
    while (expected.length < ids.length) {
      expected.push(argmax(logits));
      logits = (await session.decode(expected.at(-1)!)) as typeof logits;
    }
    expect(ids).toEqual(expected);
  });

  test('says on stderr what is kept', async () => {
    const { stderr } = await dejavu(generate(40, ...streaming, '--kv-type', 'f16'));
    expect(stderr).toContain('kv streaming 2+14 as f16\n');
    expect(stderr).toMatch(/ · kv streaming: 16 tokens kept, [\d.]+ kB\n/);
    expect((await dejavu(generate(40, '--kv', 'h2o', '--kv-budget', '16'))).stderr).toContain(
      'kv h2o 4+6+6\n',
    );
    expect((await dejavu(generate(40))).stderr).toContain('kv full\n');
  });

  test('takes a budget as a share of the context, and variables for flags', async () => {
    const kept = async (rest: string[], env?: Record<string, string>): Promise<unknown> =>
      (await dejavuJson<GenerateResult>(generate(200, ...rest), { ...(env && { env }) })).kv;
    const share = await kept(['--kv', 'h2o', '--kv-budget', '10%']);
    expect(share).toMatchObject({ policy: 'h2o', keptTokens: 26 });
    expect(await kept([], { DEJAVU_KV: 'h2o', DEJAVU_KV_BUDGET: '26' })).toEqual(share);
    expect(await kept(['--kv', 'h2o', '--kv-budget', '100%', '--sinks', '0'])).toMatchObject({
      keptTokens: 211,
    });
  });

  test('keys and values of fewer bytes', async () => {
    const bytes = async (type: string): Promise<number> =>
      (await dejavuJson<GenerateResult>(generate(40, ...streaming, '--kv-type', type))).kv
        .residentBytes;
    const f32 = await bytes('f32');
    expect(await bytes('f16')).toBe(f32 / 2);
    expect(await bytes('int8')).toBeLessThan(f32 / 2);
  });
});

/** Refused: before any weight is read, since this checkpoint's cannot be. */
describe('refused before weights are loaded', () => {
  const unreadable = (path: string, name: string): string => {
    const copy = tinyModel(join(folder, 'unreadable'), name);
    const file = join(copy, 'model.safetensors');
    const bytes = readFileSync(file);
    new Float32Array(bytes.buffer, bytes.byteOffset + bytes.length - 4096, 1024).fill(1e9);
    writeFileSync(file, bytes);
    return copy;
  };
  let models: Record<string, string>;
  beforeAll(() => {
    mkdirSync(join(folder, 'unreadable'));
    models = { llama: unreadable(llama, 'llama'), opt: unreadable(opt, 'opt') };
  });
  const run = (model: string, ...rest: string[]) =>
    dejavu(['generate', models[model], ...here, '--ids', '5', '--weights', 'f16', ...rest]);

  test('it cannot', async () => {
    for (const model of ['llama', 'opt'])
      expect(await run(model)).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('[BAD_CHECKPOINT]') as string,
      });
  });

  test.each([
    ['an unknown policy', 'llama', ['--kv', 'hoard'], /--kv is "hoard", expected one of full,/],
    ['an unknown type', 'llama', ['--kv-type', 'int2'], /--kv-type is "int2", expected one of f32/],
    ['an option it does not take', 'llama', ['--kv', 'window', '--sinks', '4'], /--sinks is given/],
    ['an option of the full cache', 'llama', ['--recent', '4'], /it takes none/],
    [
      'nothing to keep',
      'llama',
      ['--kv', 'streaming', '--sinks', '0', '--recent', '0'],
      /at least 1/,
    ],
    ['no budget', 'llama', ['--kv', 'streaming', '--kv-budget', '0'], /--kv-budget is "0"/],
    ['half a token', 'llama', ['--kv', 'streaming', '--kv-budget', '1.5'], /--kv-budget is "1.5"/],
    [
      'a budget that its parts exceed',
      'llama',
      ['--kv', 'streaming', '--kv-budget', '3'],
      /leaves 4 sinks/,
    ],
    [
      'more than the context',
      'llama',
      ['--kv', 'streaming', '--kv-budget', '257'],
      /keep 257 tokens, expected at most the context of 256/,
    ],
    ['positions that shift', 'opt', ['--kv', 'streaming'], /opt models cannot/],
    ['a context of none', 'opt', ['--context', '257'], /--context is 257/],
  ])('%s', async (_, model, flags, message) => {
    const { status, stdout, stderr } = await run(model, ...flags);
    expect(stderr).toMatch(message);
    expect(stderr.match(/^error \[BAD_REQUEST\]: .*$/gm)).toHaveLength(1);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  });

  test('more than there is memory for', async () => {
    const much = ['--context', '2000000000', '--kv-budget', '1999999999'];
    const { status, stderr } = await run('llama', '--kv', 'window', ...much);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error \[OUT_OF_MEMORY\]: a cache of 1999999999 tokens/m);
  });
});

test('chat goes on past the context and forgets no message', async () => {
  const template = join(folder, 'chat.jinja');
  writeFileSync(
    template,
    '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}',
  );
  const lines = Array.from({ length: 12 }, (_, i) => `Number ${i}, and what do you make of that?`);
  const argv = ['chat', llama, ...here, '--chat-template', template, '--max-tokens', '8'];
  const stdin = Buffer.from(`${lines.join('\n')}\n/stats\n`);
  const { status, stderr } = await dejavu([...argv, ...streaming], { stdin });
  expect(status).toBe(0);
  expect(stderr).not.toContain('no longer read');
  expect(stderr).toContain('messages  24, of which 0 are not read\n');
  expect(stderr).toContain('cache     16 of 16 tokens kept');
  const finite = await dejavu(argv, { stdin });
  expect(finite.stderr).toContain('the conversation outgrew the context of 256 tokens');
  const [first] = (
    await dejavuJson<ChatResult>([...argv, ...streaming, '--seed', '3', '-p', 'Who?'])
  ).messages;
  expect(first).toEqual({ role: 'user', content: 'Who?' });
});

const said = readFileSync(join(root, 'models/books-6m/excerpts/the-time-machine.txt'), 'utf8');
const [one, two] = [said.slice(0, 400), said.slice(400, 1000)];
const texts = join(folder, 'texts');
mkdirSync(texts);
writeFileSync(join(texts, '1.txt'), one);
writeFileSync(join(texts, '2.txt'), two);
writeFileSync(join(texts, 'notes.md'), 'not a text');

const h2o = ['--kv', 'h2o', '--kv-budget', '16'];
const evaluate = (task: string, ...rest: string[]): string[] => [
  ...['eval', llama, ...here, '--tasks', task, '--text', texts, ...rest],
];
const nllOf = ({ results }: EvaluateResult): number => Object.values(results)[0].metrics.nll;

/** Mean loss of the first ids of both texts, one decode step each. */
async function decoded(count: number, options: OpenOptions): Promise<number> {
  await using engine = await open(options);
  using session = engine.session();
  const ids = [one, two].flatMap((text) => engine.tokenizer.encode(text, { special: false }));
  let sum = 0;
  for (let i = 0; i < count; i++) sum += await session.scoreDecode(ids[i], ids[i + 1]);
  return sum / count;
}

test.each([
  { kv: 'h2o', kvBudget: 16 },
  { kv: 'snapkv', kvBudget: 40 },
  { kv: 'streaming', kvBudget: 16 },
])('perplexity decodes every scored position: %j', async ({ kv, kvBudget }) => {
  const policy = ['--kv', kv, '--kv-budget', String(kvBudget)];
  const result = await dejavuJson<EvaluateResult>(
    evaluate('perplexity', ...policy, '--window', '128', '--limit', '100'),
  );
  expect(result.results.perplexity.n).toBe(100);
  expect(result.kv).toMatchObject({ policy: kv, type: 'f32' });
  expect(nllOf(result)).toBeCloseTo(await decoded(100, { kv, kvBudget }), 10);
});

describe('perplexity of a text without end', () => {
  test('every token is decoded, past the context; the cache stays as it is', async () => {
    const { status, stdout, stderr } = await dejavu([
      ...evaluate('stream-perplexity', ...streaming, '--limit', '350', '--bucket', '100'),
      '--json',
    ]);
    expect(status).toBe(0);
    const { results, kv } = JSON.parse(stdout) as EvaluateResult;
    const { metrics, curve, ended, n } = results['stream-perplexity'];
    expect(kv).toEqual({ policy: 'streaming', type: 'f32', sinks: 2, heavy: 0, recent: 14 });
    expect({ n, ended, tokens: metrics.tokens }).toEqual({ n: 350, ended: 'limit', tokens: 350 });
    expect(metrics.nll).toBeCloseTo(
      await decoded(350, { kv: 'streaming', sinks: 2, recent: 14 }),
      10,
    );
    expect(metrics.perplexity).toBeCloseTo(Math.exp(metrics.nll), 10);
    expect(curve!.map(({ tokens }) => tokens)).toEqual([100, 200, 300, 350]);
    const [a, b, c, d] = curve!.map(({ perplexity }) => Math.log(perplexity));
    expect((100 * (a + b + c) + 50 * d) / 350).toBeCloseTo(metrics.nll, 10);
    for (const { residentBytes, rssBytes, msPerToken } of curve!) {
      expect(residentBytes).toBe(layers * 2 * kvHeads * slots * headDim * 4);
      expect(rssBytes).toBeGreaterThan(1e7);
      expect(msPerToken).toBeGreaterThan(0);
    }
    expect(stderr.match(/^stream-perplexity: \d+ tokens · perplexity .* process /gm)).toHaveLength(
      4,
    );
  });

  test('ends with the text, all files of it', async () => {
    const whole = await dejavuJson<EvaluateResult>(evaluate('stream-perplexity', ...streaming));
    const { n, ended, curve } = whole.results['stream-perplexity'];
    await using engine = await open({});
    const length = [one, two].flatMap((text) => engine.tokenizer.encode(text)).length;
    expect({ n, ended }).toEqual({ n: length - 1, ended: 'text' });
    expect(curve).toHaveLength(1);
    const listed = ['--text', join(texts, '1.txt'), join(texts, '2.txt')];
    const argv = ['eval', llama, ...here, ...listed, '--tasks', 'stream-perplexity', ...streaming];
    expect(nllOf(await dejavuJson<EvaluateResult>(argv))).toBe(nllOf(whole));
  });

  test.each([[[]], [h2o]])('ends with the context where the policy does: %j', async (policy) => {
    const { results } = await dejavuJson<EvaluateResult>(evaluate('stream-perplexity', ...policy));
    expect(results['stream-perplexity']).toMatchObject({ n: 256, ended: 'context' });
    const { stdout } = await dejavu(evaluate('stream-perplexity', ...policy));
    expect(stdout).toMatch(/stream-perplexity ended +at the end of the context\n/);
  });

  test.each([[streaming], [['--kv', 'window', '--recent', '20']], [[]]])(
    'many tokens a step come to the same: %j',
    async (policy) => {
      const argv = evaluate('stream-perplexity', ...policy, '--limit', '250', '--bucket', '90');
      const [alone, together] = [
        await dejavuJson<EvaluateResult>(argv),
        await dejavuJson<EvaluateResult>([...argv, '--rows', '64']),
      ];
      expect(nllOf(together)).toBeCloseTo(nllOf(alone), 5);
      expect(together.bytesPerToken.weights).toBe(alone.bytesPerToken.weights);
    },
  );

  test.each([
    [[...h2o, '--rows', '2'], /--rows: --kv h2o ranks/],
    [['--sparsity', 'exact', '--rows', '2'], /--rows: --sparsity exact/],
    [['--window', '64'], /--window is given/],
  ])('refuses %j', async (flags, message) => {
    const { status, stderr } = await dejavu(evaluate('stream-perplexity', ...flags));
    expect(status).toBe(2);
    expect(stderr).toMatch(message);
  });

  test('draws the curve; a task without one has no picture, a folder without texts nothing to read', async () => {
    const plot = join(folder, 'curve.svg');
    const argv = evaluate('stream-perplexity', ...streaming, '--limit', '60', '--bucket', '20');
    expect((await dejavu([...argv, '--plot', plot])).status).toBe(0);
    const drawn = textsOf(readFileSync(plot, 'utf8'));
    expect(drawn).toContain(llama);
    expect(drawn).toContain('kv streaming 2+14 as f32 · sparsity dense · f32 weights · reference');
    const refused = await dejavu(evaluate('perplexity', '--plot', plot));
    expect(refused).toMatchObject({ status: 2, stdout: '' });
    expect(refused.stderr).toContain('has a curve');
    const nowhere = await dejavu([...argv, '--text', join(root, 'src')]);
    expect(nowhere.status).toBe(1);
    expect(nowhere.stderr).toContain('[FILE_NOT_FOUND]');
  });
});

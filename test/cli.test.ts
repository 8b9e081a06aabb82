import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { native } from '../src/backends/native/index.ts';
import type { EvaluateResult } from '../src/eval/evaluate.ts';
import type { GenerateResult } from '../src/engine/generate.ts';
import type { Inspection } from '../src/engine/inspect.ts';
import type { VerifyResult } from '../src/eval/verify.ts';
import { isBuilt, program } from './support/built.ts';
import { broken, rewriteLastBytes } from './support/broken.ts';
import { dejavu, dejavuJson } from './support/dejavu.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const bundled = join(root, 'models/books-6m');
const parity = join(root, 'test/data/parity');
const golden = JSON.parse(readFileSync(join(bundled, 'golden.json'), 'utf8')) as {
  perplexity: Record<string, { perplexity: number; scored: number }>;
  greedy: { prompt: string; prompt_ids: number[]; ids: number[]; text: string }[];
};

const [first] = golden.greedy;
const greedy = ['--sparsity', 'dense', '--temperature', '0', '--max-tokens'];

describe('generate', () => {
  test('greedy text and ids are those of transformers', async () => {
    const result = await dejavuJson<GenerateResult>([
      'generate',
      'books-6m',
      '-p',
      first.prompt,
      ...greedy,
      '64',
    ]);
    expect(result.promptIds).toEqual(first.prompt_ids);
    expect(result.ids).toEqual(first.ids);
    expect(result.text).toBe(first.text);
    expect(result).toMatchObject({
      model: 'books-6m',
      family: 'gpt_neox',
      sparsity: 'dense',
      finishReason: 'length',
      density: { neurons: 1, heads: 1 },
      kv: { policy: 'full', keptTokens: first.prompt_ids.length + 63 },
    });
    expect(result.density.layers).toHaveLength(6);
    expect(result.bytesPerToken.weights).toBe(result.bytesPerToken.dense);
    expect(result.timing.decodeTokensPerSecond).toBeGreaterThan(0);
    expect(result).not.toHaveProperty('logprobs');
  });

  test('what streams is the text of the result, and nothing else goes to stdout', async () => {
    const argv = ['generate', 'books-6m', '-p', 'Chapter one', '--seed', '7', '--max-tokens', '24'];
    const { text } = await dejavuJson<GenerateResult>(argv);
    const { stdout, stderr, status } = await dejavu(argv);
    expect(status).toBe(0);
    expect(stdout).toBe(`${text}\n`);
    expect(stderr).toContain('tokens/s');
  });

  test('ids work where there is no tokenizer, and come back as ids', async () => {
    const argv = ['generate', `${parity}/opt`, '--ids', '5,17,9', ...greedy, '4'];
    const { promptIds, ids, text } = await dejavuJson<GenerateResult>(argv);
    expect(promptIds).toEqual([5, 17, 9]);
    expect(ids).toHaveLength(4);
    expect(text).toBe('');
    expect((await dejavu(argv)).stdout).toBe(`${ids.join(',')}\n`);
  });

  test('log-probabilities: the greedy id leads its alternatives', async () => {
    const { ids, logprobs } = await dejavuJson<GenerateResult>([
      'generate',
      'books-6m',
      '-p',
      first.prompt,
      ...greedy,
      '3',
      '--logprobs',
      '2',
    ]);
    expect(logprobs?.map(({ id }) => id)).toEqual(ids);
    for (const { id, logprob, top } of logprobs!) {
      expect(top).toHaveLength(2);
      expect(top[0]).toEqual({ id, logprob });
      expect(top[1].logprob).toBeLessThanOrEqual(logprob);
    }
  });

  test('a stop text ends the text before it', async () => {
    const { text, finishReason } = await dejavuJson<GenerateResult>([
      'generate',
      'books-6m',
      '-p',
      first.prompt,
      '--stop',
      'sailor',
      ...greedy,
      '64',
    ]);
    expect(finishReason).toBe('stop');
    expect(text).toBe(first.text.slice(0, first.text.indexOf('sailor')));
  });

  test('a prompt can come from stdin, and flags from variables; a flag wins', async () => {
    const around = {
      stdin: new TextEncoder().encode(first.prompt),
      env: {
        DEJAVU_SPARSITY: 'dense',
        DEJAVU_TEMPERATURE: '0',
        DEJAVU_MAX_TOKENS: '9',
        DEJAVU_JSON: '1',
      },
    };
    const { stdout } = await dejavu(
      ['generate', 'books-6m', '-p', '-', '--max-tokens', '5'],
      around,
    );
    expect((JSON.parse(stdout) as GenerateResult).ids).toEqual(first.ids.slice(0, 5));
  });

  test('an abort keeps what was generated and ends with 130', async () => {
    const { status, stdout } = await dejavu(
      ['generate', 'books-6m', '-p', first.prompt, '--json'],
      { signal: AbortSignal.abort() },
    );
    expect(status).toBe(130);
    expect(JSON.parse(stdout)).toMatchObject({ finishReason: 'abort', ids: [], text: '' });
  });
});

describe('eval', () => {
  const excerpt = 'the-time-machine.txt';
  const file = join(bundled, 'excerpts', excerpt);
  const argv = ['eval', 'books-6m', '--tasks', 'perplexity', '--text', file];

  test.skipIf(native.isas().length === 0)(
    'perplexity of an excerpt is that of transformers (takes minutes without the native backend)',
    async () => {
      const { results, weights } = await dejavuJson<EvaluateResult>([
        ...argv,
        '--weights',
        'f32',
        '--sparsity',
        'dense',
      ]);
      const { perplexity, scored } = golden.perplexity[excerpt];
      expect(weights).toBe('f32');
      expect(results.perplexity.metrics.tokens).toBe(scored);
      expect(Math.abs(results.perplexity.metrics.perplexity / perplexity - 1)).toBeLessThan(1e-5);
      expect(results.perplexity.metrics.nll).toBeCloseTo(Math.log(perplexity), 5);
    },
  );

  test('skipping exact zeros changes nothing but the bytes read', async () => {
    const short = [...argv, '--limit', '60', '--window', '32', '--stride', '16'];
    const [dense, exact] = await Promise.all(
      ['dense', 'exact'].map((method) =>
        dejavuJson<EvaluateResult>([...short, '--sparsity', method, '--weights', 'f32']),
      ),
    );
    expect(dense.results.perplexity.n).toBe(60);
    expect(exact.results.perplexity.metrics.nll).toBeCloseTo(
      dense.results.perplexity.metrics.nll,
      4,
    );
    expect(dense.bytesPerToken.weights).toBe(dense.bytesPerToken.dense);
    expect(exact.bytesPerToken.weights).toBeLessThan(0.9 * dense.bytesPerToken.dense);
  });

  test('an abort is an error with status 130', async () => {
    const { status, stderr } = await dejavu(argv, { signal: AbortSignal.abort() });
    expect(status).toBe(130);
    expect(stderr).toContain('error [ABORTED]');
  });
});

describe('verify', () => {
  test.each(readdirSync(parity))('%s passes, masked runs included', async (name) => {
    const result = await dejavuJson<VerifyResult>(['verify', `${parity}/${name}`]);
    expect(result.greedy).toEqual({ equal: 40, of: 40, firstDifference: null });
    const layers = result.hidden!.map(({ layer }) => layer);
    expect(layers.length).toBeGreaterThan(2);
    expect(layers).toEqual([...layers.keys()]);
    const differences = [result.logits!, ...result.hidden!];
    if (existsSync(`${parity}/${name}/masked.safetensors`)) differences.push(result.masked!);
    for (const { maxError, range } of differences) {
      expect(range).toBeGreaterThan(0);
      expect(maxError).toBeLessThan(2e-4 * range);
    }
  });

  test('outputs of a model with other shapes are refused', async () => {
    const golden = `${parity}/opt-350m/golden.safetensors`;
    const { status, stderr } = await dejavu(['verify', `${parity}/opt`, '--golden', golden]);
    expect(stderr).toContain('error [BAD_SHAPE]');
    expect(status).toBe(1);
  });

  test('another checkpoint with the same shapes fails, and says so in the one JSON object', async () => {
    const model = broken('gpt-neox', (path) => rewriteLastBytes(`${path}/model.safetensors`));
    const { status, stdout, stderr } = await dejavu(['verify', model, '--json']);
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      family: 'gpt_neox',
      error: { code: 'VERIFY_FAILED' },
    });
    expect(stderr).toContain('error [VERIFY_FAILED]');
  });
});

test('inspect counts what is in the files', async () => {
  const found = await dejavuJson<Inspection>(['inspect', 'books-6m']);
  expect(found).toMatchObject({
    family: 'gpt_neox',
    layers: 6,
    heads: 8,
    kvHeads: 8,
    headDim: 32,
    hiddenSize: 256,
    neurons: 1024,
    vocabulary: 4096,
    activation: 'relu',
    gated: false,
  });
  const layer = 4 * 256 * 256 + 4 * 256 + 2 * 256 * 1024 + 1024 + 256 + 4 * 256;
  expect(found.parameters).toBe(4096 * 256 + 6 * layer + 2 * 256);
  expect(found.weightBytes).toBe(2 * found.parameters);
});

test('help and version are results, on stdout', async () => {
  expect(await dejavu(['--version'])).toMatchObject({ status: 0, stdout: '0.1.0\n', stderr: '' });
  const help = await dejavu(['generate', '--help']);
  expect(help).toMatchObject({ status: 0, stderr: '' });
  expect(help.stdout).toContain('--max-tokens <n>');
});

describe.skipIf(!isBuilt)('the built program (skipped where dist/ is older than src/)', () => {
  const start = (...argv: string[]) =>
    spawn(process.execPath, [program, ...argv], { cwd: tmpdir() });

  test('finds the bundled model from any folder', async () => {
    const child = start('generate', 'books-6m', '-p', first.prompt, ...greedy, '8', '--json');
    child.stdin.end();
    const { ids } = JSON.parse(await text(child.stdout)) as GenerateResult;
    expect(ids).toEqual(first.ids.slice(0, 8));
  });

  test('Ctrl-C ends a generation cleanly, with 130', async () => {
    const child = start('generate', 'books-6m', '-p', first.prompt, '--max-tokens', '480');
    await once(child.stdout, 'data');
    child.kill('SIGINT');
    const closed = once(child, 'close') as Promise<[number]>;
    const [rest, [status]] = await Promise.all([text(child.stderr), closed]);
    expect(rest).toContain('(abort)');
    expect(status).toBe(130);
  });

  test('a reader that leaves early is no error', async () => {
    const child = start('generate', 'books-6m', '-p', first.prompt, '--max-tokens', '480');
    await once(child.stdout, 'data');
    child.stdout.destroy();
    const closed = once(child, 'close') as Promise<[number]>;
    const [said, [status]] = await Promise.all([text(child.stderr), closed]);
    expect(said).not.toContain('error');
    expect(status).toBe(0);
  });
});

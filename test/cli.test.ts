import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { native } from '../src/backends/native/index.ts';
import type { BenchResult, BenchRun } from '../src/bench/bench.ts';
import type { EvaluateResult } from '../src/eval/evaluate.ts';
import type { GenerateResult } from '../src/engine/generate.ts';
import type { Inspection } from '../src/engine/inspect.ts';
import type { VerifyResult } from '../src/eval/verify.ts';
import { type ErrorCode, errorCodes } from '../src/errors.ts';
import { f32, hostTensor } from '../src/rows.ts';
import { writePredictor } from '../src/loaders/files.ts';
import type { SitePredictor } from '../src/predictor.ts';
import { isBuilt, program } from './support/built.ts';
import { type Around, dejavu, dejavuJson } from './support/dejavu.ts';

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

describe('bench of several texts', () => {
  const argv = [
    ...['bench', 'books-6m', '--weights', 'int8', '--methods', 'dense,exact,predictor'],
    ...['--batch', '1,3', '--context', '16', '--steps', '3', '--rounds', '1', '--break-even'],
  ];
  const run = (runs: readonly BenchRun[], method: string, batch: number): BenchRun =>
    runs.find((r) => r.phase === 'decode' && r.method === method && r.batch === batch)!;

  test('shares what is read among them, and computes the union of their neurons', async () => {
    const { predictors, runs } = await dejavuJson<BenchResult>([...argv, 'off']);
    expect(predictors).toEqual({ type: 'int2g128', ranks: [512, 256, 256, 256, 384, 384] });
    expect(runs.map(({ batch }) => batch)).toEqual([1, 1, 1, 3, 3, 3, 1]);
    const [one, three] = [run(runs, 'dense', 1), run(runs, 'dense', 3)].map((r) => r.bytesPerToken);
    // Rows of the embedding aside, a step reads the same for three.
    expect(three.weights / one.weights).toBeCloseTo(1 / 3, 2);
    expect(three.weights).toBe(three.dense);
    expect(three.kv).toBeCloseTo(one.kv, 6);
    const [alone, together] = [run(runs, 'predictor', 1), run(runs, 'predictor', 3)];
    expect(together.density.neurons).toBeGreaterThan(1.3 * alone.density.neurons);
    expect(together.density.neurons).toBeLessThan(3 * alone.density.neurons);
    expect(together.bytesPerToken.predictor).toBeGreaterThan(0);
    expect(runs.every(({ breakEven }) => breakEven === null)).toBe(true);
  });

  test('computes all where choosing does not pay', async () => {
    const { runs } = await dejavuJson<BenchResult>([...argv, '0%']);
    const [exact, predictor] = [run(runs, 'exact', 3), run(runs, 'predictor', 3)];
    expect(predictor.density).toEqual(exact.density);
    expect(predictor.bytesPerToken).toEqual(exact.bytesPerToken);
    expect(predictor.breakEven).toEqual({ neurons: 0, heads: 0 });
    expect((await dejavu([...argv, '40%'])).stdout).toContain('more than 40.0 % of the neurons');
  });
});

describe('bench of caches', () => {
  const argv = [
    ...['bench', 'books-6m', '--weights', 'int8', '--methods', 'dense', '--steps', '2'],
    ...['--rounds', '1', '--context', '0.0625k,128', '--kv', 'full,h2o=25%,streaming'],
    ...['--kv-budget', '24', '--sinks', '2', '--kv-type', 'f16', '--fill', 'random'],
  ];

  test('measures every policy in every context', async () => {
    const { runs } = await dejavuJson<BenchResult>(argv);
    expect(runs.map(({ context, kv, filled }) => [context, kv.policy, kv.budget, filled])).toEqual([
      ...[
        [64, 'full', null, 'random'],
        [64, 'h2o', 16, 'random'],
        [64, 'streaming', 24, 'random'],
      ],
      ...[
        [128, 'full', null, 'random'],
        [128, 'h2o', 32, 'random'],
        [128, 'streaming', 24, 'random'],
      ],
    ]);
    expect(runs.every(({ kv, besideFull }) => kv.type === 'f16' && besideFull)).toBe(true);
    const { stdout } = await dejavu(argv);
    expect(stdout).toMatch(/^dense +int8 +decode +1 +64 +h2o +[\d.]+ \(/m);
    expect(stdout).toContain('made up: random keys and values');
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

const temporary = mkdtempSync(join(tmpdir(), 'dejavu-cli-'));
afterAll(() => rmSync(temporary, { recursive: true }));
let copies = 0;

/** A copy of a parity checkpoint, changed. */
function broken(name: string, change: (path: string) => void): string {
  const path = join(temporary, `${name}-${copies++}`);
  cpSync(join(parity, name), path, { recursive: true });
  change(path);
  return path;
}

const config = (path: string, change: object): void => {
  const file = `${path}/config.json`;
  const before = JSON.parse(readFileSync(file, 'utf8')) as object;
  writeFileSync(file, JSON.stringify({ ...before, ...change }));
};

/** Change a safetensors header; the bytes of tensors stay. */
function header(file: string, change: (json: Record<string, Entry>) => void): void {
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const json = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<string, Entry>;
  change(json);
  const written = Buffer.from(JSON.stringify(json));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(written.length));
  writeFileSync(file, Buffer.concat([size, written, bytes.subarray(8 + length)]));
}

interface Entry {
  shape: number[];
  data_offsets: [number, number];
}

function rewriteLastBytes(file: string): void {
  const bytes = readFileSync(file);
  new Float32Array(bytes.buffer, bytes.byteOffset + bytes.length - 4096, 1024).fill(0.25);
  writeFileSync(file, bytes);
}

/** A well-formed predictor for llama-relu, made for other weights. */
async function strangePredictor(): Promise<string> {
  const path = join(temporary, 'strange.safetensors');
  const site = (units: number): SitePredictor => ({
    down: hostTensor('int4', [32, 64]),
    downBias: hostTensor('f32', [32]),
    up: hostTensor('int4', [units, 32]),
    upBias: hostTensor('f32', [units]),
    usage: f32(hostTensor('f32', [units])),
    curve: [],
  });
  const { layers, heads, neurons } = await dejavuJson<Inspection>(['inspect', `${parity}/opt`]);
  await writePredictor(path, {
    provenance: {
      modelHash: '0'.repeat(64),
      family: 'opt',
      textHash: '0'.repeat(64),
      tokens: 1,
      heldOutTokens: 1,
      seed: 0,
      rank: 32,
      ranks: Array.from({ length: layers }, () => 32),
      type: 'int4',
      steps: 1,
      batch: 1,
    },
    layers: Array.from({ length: layers }, (_, layer) => ({
      neurons: site(neurons),
      heads: layer ? site(heads) : undefined,
    })),
    points: [],
  });
  return path;
}

interface Refusal {
  readonly what: string;
  readonly code: ErrorCode;
  readonly status: 1 | 2;
  readonly argv: () => readonly string[] | Promise<readonly string[]>;
  readonly around?: Around;
}

const books = ['generate', 'books-6m'];
const ids = (model: string): string[] => ['generate', model, '--ids', '5,17'];
const request = (what: string, argv: readonly string[], around: Around = {}): Refusal => ({
  what,
  code: 'BAD_REQUEST',
  status: 2,
  argv: () => argv,
  around,
});
const fault = (
  what: string,
  code: ErrorCode,
  model: () => string,
  rest: readonly string[] = [],
): Refusal => ({ what, code, status: 1, argv: () => [...ids(model()), ...rest] });

const refusals: Refusal[] = [
  request('no command', []),
  request('an unknown command', ['frobnicate']),
  request('an unknown flag', [...books, '-p', 'a', '--frobnicate']),
  request('a flag of another command', [...books, '-p', 'a', '--stride', '3']),
  request('no model', ['generate']),
  request('an argument too many', [...books, 'more', '-p', 'a']),
  request('no prompt', books),
  request('two prompts', [...books, '-p', 'a', '--ids', '5']),
  request('--max-tokens -1', [...books, '-p', 'a', '--max-tokens', '-1']),
  request('--max-tokens 0', [...books, '-p', 'a', '--max-tokens', '0']),
  request('--max-tokens 1.5', [...books, '-p', 'a', '--max-tokens', '1.5']),
  request('a bad variable', [...books, '-p', 'a'], { env: { DEJAVU_TOP_P: '1.5' } }),
  request('--temperature hot', [...books, '-p', 'a', '--temperature', 'hot']),
  request('--ids with text', [...books, '--ids', '5,x']),
  request('an id past the vocabulary', [...books, '--ids', '5,4096']),
  request('an id past 32 bits', [...books, '--ids', '4294967301']),
  request('--weights f64', [...books, '-p', 'a', '--weights', 'f64']),
  request('an unknown backend', [...books, '-p', 'a', '--backend', 'abacus']),
  request('an unknown method', [...books, '-p', 'a', '--sparsity', 'psychic']),
  request('an unknown policy', [...books, '-p', 'a', '--kv', 'hoard']),
  request('a context of nothing', [...books, '-p', 'a', '--context', '0']),
  request('no threads', [...books, '-p', 'a', '--threads', '0']),
  request('shares for dense', [...books, '-p', 'a', '--sparsity', 'dense', '--neurons', '0.3']),
  request('a share of 130%', [...books, '-p', 'a', '--sparsity', 'random', '--heads', '130%']),
  request('log-probabilities as text', [...books, '-p', 'a', '--logprobs', '2']),
  request('an empty stop text', [...books, '-p', 'a', '--stop', '']),
  request('eval of nothing', ['eval', 'books-6m']),
  request('an unknown task', ['eval', 'books-6m', '--tasks', 'chess']),
  request('perplexity without a text', ['eval', 'books-6m', '--tasks', 'perplexity']),
  request('train without a text', ['train', 'books-6m']),
  request('bench of nothing', ['bench']),
  request('a rank for predictors of a model', ['bench', 'books-6m', '--rank', '64']),
  request('a type of them', ['bench', 'books-6m', '--predictor-type', 'int8']),
  request('a type that predictors do not come in', ['train', 'books-6m', '--type', 'int4g64']),
  request('a batch of no text', ['bench', 'books-6m', '--batch', '4,0']),
  request('a context that is no number of tokens', ['bench', 'books-6m', '--context', '4k,8q']),
  request('a policy with half a budget', ['bench', 'books-6m', '--kv', 'full,h2o=']),
  request('layers of a model that is no shape', ['bench', 'books-6m', '--layers', '2']),
  request('a break-even that is no share', ['bench', 'books-6m', '--break-even', 'never']),
  {
    what: 'a prompt that is not UTF-8',
    code: 'BAD_TEXT',
    status: 2,
    argv: () => [...books, '-p', '-'],
    around: { stdin: Uint8Array.of(0x61, 0xff, 0xfe) },
  },
  { what: 'an empty prompt', code: 'BAD_TEXT', status: 2, argv: () => [...books, '-p', ''] },
  {
    what: 'a text that is not UTF-8',
    code: 'BAD_TEXT',
    status: 2,
    argv: () => {
      const path = join(temporary, 'latin1.txt');
      writeFileSync(path, Buffer.from('Zoë', 'latin1'));
      return ['eval', 'books-6m', '--tasks', 'perplexity', '--text', path];
    },
  },
  {
    what: 'a prompt over the context',
    code: 'PROMPT_TOO_LONG',
    status: 2,
    argv: () => [...books, '--ids', '5,6,7,8', '--context', '3'],
  },
  fault('a model that is not there', 'FILE_NOT_FOUND', () => join(temporary, 'nowhere')),
  {
    what: 'a prompt without a tokenizer',
    code: 'NO_TOKENIZER',
    status: 1,
    argv: () => ['generate', `${parity}/opt`, '-p', 'a'],
  },
  fault('a stop text without a tokenizer', 'NO_TOKENIZER', () => `${parity}/opt`, ['--stop', 'x']),
  fault('a predictor that is not there', 'FILE_NOT_FOUND', () => `${parity}/opt`, [
    ...['--sparsity', 'predictor', '--predictor', join(temporary, 'no.safetensors')],
  ]),
  fault('a method without its predictor', 'NO_PREDICTOR', () => `${parity}/opt`, [
    ...['--sparsity', 'predictor'],
  ]),
  fault('a recall without a predictor', 'NO_PREDICTOR', () => `${parity}/opt`, ['--recall', '90%']),
  fault('a truncated weight file', 'BAD_CHECKPOINT', () =>
    broken('opt', (path) => truncateSync(`${path}/model.safetensors`, 100_000)),
  ),
  fault('a header longer than its file', 'BAD_CHECKPOINT', () =>
    broken('opt', (path) => {
      const bytes = readFileSync(`${path}/model.safetensors`);
      bytes.writeBigUInt64LE(2n ** 60n, 0);
      writeFileSync(`${path}/model.safetensors`, bytes);
    }),
  ),
  fault('tensors that overlap', 'BAD_CHECKPOINT', () =>
    broken('opt', (path) =>
      header(`${path}/model.safetensors`, (json) => {
        const [one, other] = Object.values(json).filter(({ shape }) => shape);
        other.data_offsets = one.data_offsets;
      }),
    ),
  ),
  fault('a tensor of another shape', 'BAD_SHAPE', () =>
    broken('opt', (path) =>
      header(`${path}/model.safetensors`, (json) => {
        const key = Object.keys(json).find((name) => name.endsWith('fc1.weight'))!;
        json[key].shape.reverse();
      }),
    ),
  ),
  fault('a tensor under another name', 'MISSING_TENSOR', () =>
    broken('opt', (path) =>
      header(`${path}/model.safetensors`, (json) => {
        const key = Object.keys(json).find((name) => name.endsWith('fc1.weight'))!;
        json.other = json[key];
        delete json[key];
      }),
    ),
  ),
  fault('a configuration that is not JSON', 'BAD_CONFIG', () =>
    broken('opt', (path) => writeFileSync(`${path}/config.json`, '{')),
  ),
  fault('a configuration without layers', 'BAD_CONFIG', () =>
    broken('opt', (path) => config(path, { num_hidden_layers: 0 })),
  ),
  fault('an unknown model_type', 'UNKNOWN_FAMILY', () =>
    broken('opt', (path) => config(path, { model_type: 'rwkv' })),
  ),
  fault('a tokenizer that is none', 'NO_TOKENIZER', () =>
    broken('opt', (path) => writeFileSync(`${path}/tokenizer.json`, '{"model":{}}')),
  ),
  {
    what: 'a predictor of another model',
    code: 'BAD_PREDICTOR',
    status: 1,
    argv: async () => [...ids(`${parity}/opt`), '--predictor', await strangePredictor()],
  },
];

describe('refusals: one line, a code, a status, no stack', () => {
  test.each(refusals)('$what: $code', async ({ argv, around, code, status }) => {
    const asked = await argv();
    const plain = await dejavu(asked, around);
    expect(plain.stderr).toContain(`error [${code}]: `);
    expect(plain.status).toBe(status);
    expect(plain.stdout).toBe('');
    expect(plain.stderr.match(/^error \[/gm)).toHaveLength(1);
    expect(plain.stderr).not.toMatch(/^\s+at /m);

    if (asked.includes('--logprobs')) return;
    const json = await dejavu([...asked, '--json'], around);
    expect(json.status).toBe(status);
    expect(JSON.parse(json.stdout)).toEqual({
      error: { code, message: expect.any(String) as string },
    });
  });

  test('--debug adds where the error came from', async () => {
    const { stderr } = await dejavu([...ids(join(temporary, 'nowhere')), '--debug']);
    expect(stderr).toMatch(/^\s+at /m);
    expect(stderr).toContain('caused by');
  });
});

test('the README lists every error code, its status and its meaning', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const listed = [...readme.matchAll(/^\| `([A-Z_]+)` \| (\d+) \| (.+) \|$/gm)];
  expect(listed.map(([, code, status, meaning]) => ({ code, status, meaning }))).toEqual(
    Object.entries(errorCodes).map(([code, { status, meaning }]) => ({
      code,
      status: String(status),
      meaning,
    })),
  );
});

describe.skipIf(!isBuilt)('the built program (skipped where dist/ is older than src/)', () => {
  const start = (...argv: string[]) =>
    spawn(process.execPath, [program, ...argv], { cwd: temporary });

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

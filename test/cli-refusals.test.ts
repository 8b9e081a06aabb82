import { readFileSync } from 'node:fs';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Inspection } from '../src/engine/inspect.ts';
import { type ErrorCode, errorCodes } from '../src/errors.ts';
import { f32, hostTensor } from '../src/rows.ts';
import { writePredictor } from '../src/loaders/files.ts';
import type { SitePredictor } from '../src/predictor.ts';
import { broken, config, header, temporary } from './support/broken.ts';
import { type Around, dejavu, dejavuJson } from './support/dejavu.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const parity = join(root, 'test/data/parity');

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

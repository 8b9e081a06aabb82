/**
 * Quantized folders end to end, over tiny random checkpoints of every family: what is written is what
 * is computed with, on every backend that opens here.
 */
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text as textOf } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openBackend } from '../src/backends/index.ts';
import { run } from '../src/cli/run.ts';
import { Engine, inspect, type OpenOptions } from '../src/engine/local.ts';
import { writePredictor } from '../src/loaders/files.ts';
import { Inputs } from '../src/ops/cases/inputs.ts';
import type { PredictorFile, PredictorType, SitePredictor } from '../src/predictor.ts';
import { quantize, type QuantizeOptions, type QuantizeResult } from '../src/quantize/quantize.ts';
import { formatOf, modelTypes } from '../src/tensor.ts';
import { asGguf } from './support/as-gguf.ts';
import { codeOf } from './support/code-of.ts';
import { backendsThatOpen } from './support/opens.ts';
import { loadCheckpoint, hashCheckpoint } from './support/by-path.ts';

const parity = fileURLToPath(new URL('data/parity/', import.meta.url));
const families = ['llama-gqa-tied', 'llama-bias', 'opt', 'opt-350m', 'gpt-neox', 'gpt-neox-relu'];
/** Ids with something to find in them. */
const text = Int32Array.from({ length: 800 }, (_, i) => (7 * i + (i % 13) ** 2) % 331);
const prompt = [5, 17, 9, 200, 61];

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'dejavu-quantize-'))));
afterAll(() => rm(folder, { recursive: true, force: true }));

const opens = await backendsThatOpen('quantize');

const make = async (name: string, options: Partial<QuantizeOptions> = {}) => {
  const output = await mkdtemp(join(folder, `${name}-`));
  return quantize(parity + name, { bits: 4, output, ...options });
};

async function logits(model: string, options: OpenOptions): Promise<Float32Array> {
  await using engine = await Engine.open(model, { sparsity: 'dense', ...options });
  using session = engine.session();
  return await session.prefill(Int32Array.from(prompt));
}

describe.each(families)('%s', (name) => {
  it.each(modelTypes)(
    'rounded to %s is what loading as that type gives, bit for bit',
    async (weights) => {
      const { bits, group, minima: zeroPoint } = formatOf(weights);
      const asked = { bits, group, zeroPoint, embeddingBits: bits };
      const { output, weightBytes, ...result } = await make(name, asked);
      expect(result).toMatchObject({ bits, group, zeroPoint });
      for (const backend of opens) {
        const opened = (await openBackend(backend)).backend;
        const direct = await loadCheckpoint(parity + name, opened, { weights });
        const read = await loadCheckpoint(output, opened);
        expect([read.dtype, read.weightBytes]).toEqual([weights, direct.weightBytes]);
        expect(weightBytes).toBe(direct.weightBytes);
        for (const [weight, spec] of Object.entries(direct.family.weights(direct.config))) {
          const [a, b] = [direct, read].map((model) => model.weights.find(weight));
          if (!a || !b) {
            expect(a, weight).toBe(b);
            continue;
          }
          expect([b.dtype, b.shape], weight).toEqual([a.dtype, a.shape]);
          expect((await opened.read([b]))[0], weight).toEqual((await opened.read([a]))[0]);
          if (!spec.byInputs) continue;
          const norms = [direct, read].map((model) =>
            opened.read([model.weights.rowNorms(weight, 1)]),
          );
          expect(await norms[1], weight).toEqual(await norms[0]);
        }
        await opened[Symbol.asyncDispose]();
        expect(await logits(output, { backend })).toEqual(
          await logits(parity + name, { backend, weights }),
        );
      }
    },
  );

  it('gives the same greedy ids from one int4 folder on every backend, mapped or read, and decoded', async () => {
    const { output, perplexity } = await make(name, { text, tokens: 512, backend: opens[0] });
    expect(perplexity!.after / perplexity!.before).toBeCloseTo(1, 1);
    // Ids up to a tie, which leaves what comes next to what backends may differ by.
    const greedy = async (options: OpenOptions): Promise<readonly number[]> => {
      await using engine = await Engine.open(output, { sparsity: 'dense', ...options });
      const { ids, logprobs } = await engine.generate(prompt, {
        ...{ temperature: 0, maxTokens: 24, ignoreEnd: true, logprobs: 2 },
      }).result;
      const tie = logprobs!.findIndex(({ top }) => top[0].logprob - top[1].logprob <= 1e-3);
      return tie < 0 ? ids : ids.slice(0, tie);
    };
    const exact: (readonly number[])[] = [];
    const rounded: (readonly number[])[] = [];
    for (const backend of opens) {
      exact.push(await greedy({ backend, activations: 'f32' }));
      exact.push(await greedy({ backend, weights: 'f32' }));
      rounded.push(await greedy({ backend }));
    }
    for (const runs of [exact, rounded]) {
      const count = Math.min(...runs.map((ids) => ids.length));
      expect(count).toBeGreaterThan(5);
      for (const ids of runs) expect(ids.slice(0, count)).toEqual(runs[0].slice(0, count));
    }
  });
});

describe('a folder', () => {
  it('has what the source has but weights, and says what it is', async () => {
    const { output, ...result } = await make('opt', { bits: 8 });
    expect((await readdir(output)).sort()).toEqual(['config.json', 'model.safetensors']);
    expect(result).toEqual({
      bits: 8,
      group: 32,
      zeroPoint: false,
      method: 'rtn',
      weightBytes: (await inspect(output)).weightBytes,
    });
    const json = JSON.parse(await readFile(join(output, 'config.json'), 'utf8')) as {
      quantization_config: unknown;
    };
    expect(json.quantization_config).toEqual({
      quant_method: 'dejavu',
      format: 'dejavu-weights',
      version: '1',
      bits: 8,
      group_size: 32,
      zero_point: false,
      method: 'rtn',
    });
    const [before, after] = [await inspect(`${parity}opt`), await inspect(output)];
    expect(after.parameters).toBe(before.parameters);
    expect(after.weightBytes).toBeLessThan(0.32 * before.weightBytes);
  });

  it.each(modelTypes)(
    'computes with the %s that is in the file: other backends read what native maps',
    async (type) => {
      const { bits, group, minima: zeroPoint } = formatOf(type);
      const { output } = await make('llama-bias', { bits, group, zeroPoint });
      const values: Float32Array[] = [];
      for (const backend of opens)
        values.push(await logits(output, { backend, activations: 'f32' }));
      // Native rounds what 4-bit codes of down projections are multiplied by (ops/linear-transposed.ts).
      const tolerance = bits === 4 ? 5e-4 : 1e-5;
      const peak = values[0].reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      for (const other of values)
        other.forEach((x, i) => expect(Math.abs(x - values[0][i]) / peak).toBeLessThan(tolerance));
    },
  );

  it.each([32, 64, 128] as const)(
    'calibrated in groups of %i with minima predicts what the original does',
    async (group) => {
      const asked = { group, zeroPoint: true, text, tokens: 512 };
      const { output, perplexity, ...result } = await make('llama-bias', asked);
      expect(result).toMatchObject({ bits: 4, group, zeroPoint: true, method: 'gptq' });
      expect((await inspect(output)).weightBytes).toBe(result.weightBytes);
      expect(perplexity!.after / perplexity!.before).toBeCloseTo(1, 1);
    },
  );

  it('takes a predictor of its source along, and no other one', async () => {
    const source = join(folder, 'with-predictor');
    await cp(`${parity}opt`, source, { recursive: true });
    const random = new Inputs(5);
    const net = (type: PredictorType, units: number): SitePredictor => ({
      down: random.numbers([32, 64], type),
      downBias: random.numbers([32]),
      up: random.numbers([units, 32], type),
      upBias: random.numbers([units]),
      usage: new Float32Array(units),
      curve: [],
    });
    const file = (modelHash: string): PredictorFile => ({
      provenance: {
        ...{ modelHash, family: 'opt', textHash: 'none', type: 'int2g128' },
        ...{ tokens: 1, heldOutTokens: 1, seed: 0, rank: 32, ranks: [32], steps: 1, batch: 16 },
      },
      layers: [0, 1, 2].map((l) => ({
        neurons: net('int2g128', 224),
        heads: l ? net('int4', 4) : undefined,
      })),
      points: [
        {
          maxLoss: 0.01,
          loss: 0,
          thresholds: [0, 1, 2].map((l) => ({ neurons: 0, heads: l ? 0 : undefined })),
          densities: [0, 1, 2].map(() => ({ neurons: 0.5, heads: 0.5 })),
        },
      ],
    });
    await writePredictor(join(source, 'predictor.safetensors'), file(await hashCheckpoint(source)));
    const output = join(folder, 'predicted');
    await quantize(source, { bits: 4, output });
    await using engine = await Engine.open(output);
    expect(engine.sparsity.name).toBe('predictor');
    expect((await inspect(output)).predictor!.matches).toBe(true);
    const foreign = join(folder, 'foreign.safetensors');
    await writePredictor(foreign, file('0'.repeat(64)));
    expect(await codeOf(Engine.open(output, { predictor: foreign }))).toBe('BAD_PREDICTOR');
  });

  it('runs the controls that need norms of rows', async () => {
    const { output } = await make('gpt-neox-relu');
    const values: number[][] = [];
    for (const sparsity of ['dense', 'oracle']) {
      await using engine = await Engine.open(output, {
        sparsity,
        ...(sparsity === 'oracle' && { neurons: 1, heads: 1 }),
      });
      using session = engine.session();
      await session.prefill(Int32Array.from(prompt));
      values.push([...(await session.decode(3))]);
    }
    expect(values[1]).toEqual(values[0]);
  });
});

describe('a request is refused', () => {
  const opt = `${parity}opt`;

  it('that has no text to calibrate on, too short a one, or an unknown method', async () => {
    const output = join(folder, 'refused');
    const refusal = (options: Partial<QuantizeOptions>) =>
      codeOf(quantize(opt, { bits: 4, output, ...options }));
    expect(await refusal({ method: 'gptq' })).toBe('BAD_REQUEST');
    expect(await refusal({ method: 'awq' })).toBe('BAD_REQUEST');
    expect(await refusal({ text: [1, 2, 3] })).toBe('BAD_TEXT');
    expect(await refusal({ text: [1, 2, 999] })).toBe('BAD_REQUEST');
    expect(await readdir(folder)).not.toContain('refused');
  });

  it('where something is in the way, which stays as it is', async () => {
    const { output } = await make('opt');
    const before = await readFile(join(output, 'model.safetensors'));
    expect(await codeOf(quantize(opt, { bits: 8, output }))).toBe('BAD_REQUEST');
    expect(await readFile(join(output, 'model.safetensors'))).toEqual(before);
  });

  it('of what is quantized already', async () => {
    const { output } = await make('opt');
    expect(await codeOf(quantize(output, { bits: 8, output: join(folder, 'twice') }))).toBe(
      'BAD_REQUEST',
    );
    expect(await codeOf(Engine.open(output, { weights: 'int8' }))).toBe('BAD_REQUEST');
  });

  it('in the middle, and leaves nothing behind', async () => {
    const stop = new AbortController();
    const names = await readdir(folder);
    const work = quantize(opt, {
      bits: 4,
      output: join(folder, 'aborted'),
      signal: stop.signal,
      onProgress: (label) => label.includes('layers.1') && stop.abort(),
    });
    await expect(work).rejects.toThrow('aborted');
    expect(await readdir(folder)).toEqual(names);
  });
});

describe('the command', () => {
  async function dejavu(...argv: string[]): Promise<{ status: number; stdout: string }> {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const [out, err] = [textOf(stdout), textOf(stderr)];
    const status = await run(argv, {
      ...{ stdin: Readable.from([]), stdout, stderr, env: {} },
      signal: new AbortController().signal,
    });
    stdout.end();
    stderr.end();
    await err;
    return { status, stdout: await out };
  }

  it('prints the result as JSON, and the folder generates', async () => {
    const output = join(folder, 'by-command');
    const made = await dejavu('quantize', `${parity}llama`, '--bits', '8', '-o', output, '--json');
    expect(made.status).toBe(0);
    const { weightBytes, ...result } = JSON.parse(made.stdout) as QuantizeResult;
    expect(result).toEqual({ output, bits: 8, group: 32, zeroPoint: false, method: 'rtn' });
    expect((await inspect(output)).weightBytes).toBe(weightBytes);
    const ids = ['--ids', '5,17,9', '--max-tokens', '3', '--temperature', '0'];
    expect((await dejavu('generate', output, ...ids)).status).toBe(0);
  });

  it('makes groups of what size is asked for, with zero points', async () => {
    const output = join(folder, 'by-command-in-groups');
    const flags = ['--bits', '4', '--group', '64', '--zero-point', '-o', output];
    const made = await dejavu('quantize', `${parity}llama`, ...flags);
    expect(made.stdout).toContain('int4 in groups of 64 with zero points, rtn');
    const json = JSON.parse(await readFile(join(output, 'config.json'), 'utf8')) as {
      quantization_config: unknown;
    };
    expect(json.quantization_config).toMatchObject({ bits: 4, group_size: 64, zero_point: true });
  });

  it.each([
    ['no bits', ['-o', 'x']],
    ['no folder', ['--bits', '4']],
    ['other bits', ['--bits', '5', '-o', 'x']],
    ['other groups', ['--bits', '4', '--group', '48', '-o', 'x']],
    ['8 bits in other groups', ['--bits', '8', '--group', '64', '-o', 'x']],
    ['8 bits with zero points', ['--bits', '8', '--zero-point', '-o', 'x']],
    ['a method that is none', ['--bits', '4', '-o', 'x', '--method', 'best']],
  ])('refuses %s with status 2', async (_what, flags) => {
    const { status, stdout } = await dejavu('quantize', `${parity}llama`, ...flags, '--json');
    expect(status).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'BAD_REQUEST' } });
  });
});

describe.runIf(opens.includes('native'))('mapping on the native backend', () => {
  it('shows a part of a file, and keeps writes to itself', async () => {
    const { output } = await make('opt');
    const path = join(output, 'model.safetensors');
    const bytes = await readFile(path);
    const { backend } = await openBackend('native');
    const map = (offset: number, length: number) =>
      backend.map!(path, offset, 'u8', [length], 'weights');
    const tensor = map(8192 + 64, 5000)!;
    expect(Buffer.from((await backend.read([tensor]))[0])).toEqual(bytes.subarray(8256, 13256));
    backend.write(tensor, new Uint8Array(5000));
    expect((await backend.read([tensor]))[0].every((byte) => byte === 0)).toBe(true);
    backend.free(tensor);
    expect(await readFile(path)).toEqual(bytes);
    expect(map(64, bytes.length)).toBeUndefined();
    expect(backend.map!(`${path}.none`, 0, 'u8', [1], 'weights')).toBeUndefined();
    await backend[Symbol.asyncDispose]();
  });
});

it('of a GGUF file is that of the folder it was made from', async () => {
  const file = join(folder, 'llama.gguf');
  await writeFile(file, await asGguf(`${parity}llama`));
  const output = join(folder, 'of-gguf');
  await quantize(file, { bits: 4, output });
  const expected = await make('llama');
  for (const backend of opens)
    expect(await logits(output, { backend })).toEqual(await logits(expected.output, { backend }));
  const config = JSON.parse(await readFile(join(output, 'config.json'), 'utf8')) as object;
  expect(config).toMatchObject({ model_type: 'llama', quantization_config: { bits: 4 } });
  expect((await readdir(output)).sort()).toEqual(['config.json', 'model.safetensors']);
});

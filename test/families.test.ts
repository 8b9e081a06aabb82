/**
 * Deja Vu end to end through the command line, on the tiny checkpoint of every family whose activation
 * makes zeros: train predictors on a text, decode by them, and what must hold whatever was learned.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../src/cli/run.ts';
import type { GenerateResult } from '../src/engine/generate.ts';
import type { Inspection } from '../src/engine/inspect.ts';
import { inspect } from '../src/engine/local.ts';
import { writePredictor } from '../src/loaders/files.ts';
import { makesZeros } from '../src/ops/activation.ts';
import type { TrainResult } from '../src/train/train.ts';
import { readPredictor } from './support/by-path.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const parity = join(root, 'test/data/parity');
const folder = mkdtempSync(join(tmpdir(), 'dejavu-families-'));
afterAll(() => rmSync(folder, { recursive: true }));

const inspections = await Promise.all(
  readdirSync(parity).map(async (name) => [name, await inspect(join(parity, name))] as const),
);
const checkpoints = inspections.filter(([, { activation }]) => makesZeros(activation));

/** A token for each character of the text, so that any checkpoint can read it. */
const excerpt = join(root, 'models/books-6m/excerpts/the-time-machine.txt');
const calibration = readFileSync(excerpt, 'utf8').slice(0, 8_000);
const textFile = join(folder, 'text.txt');
writeFileSync(textFile, calibration);
const characters = [...new Set(calibration)];
const tokenizer = {
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: {
    type: 'Split',
    pattern: { Regex: '[\\s\\S]' },
    behavior: 'Isolated',
    invert: false,
  },
  post_processor: null,
  decoder: { type: 'Fuse' },
  model: {
    type: 'WordLevel',
    unk_token: '\n',
    vocab: Object.fromEntries(characters.map((character, id) => [character, id])),
  },
};

async function dejavu<T>(...argv: string[]): Promise<T> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const [out, err] = [text(stdout), text(stderr)];
  const { signal } = new AbortController();
  const status = await run([...argv, '--json'], {
    ...{ stdin: Readable.from([]), stdout, stderr, env: { DEJAVU_THREADS: '1' }, signal },
  });
  stdout.end();
  stderr.end();
  expect(status, await err).toBe(0);
  return JSON.parse(await out) as T;
}

it('are found, those of the papers among them', () => {
  const families = checkpoints.map(([, { family }]) => family);
  expect(families).toEqual(expect.arrayContaining(['opt', 'llama', 'gpt_neox', 'falcon']));
});

describe.each(checkpoints)('%s', (name, about: Inspection) => {
  const model = join(folder, name);
  let trained: TrainResult;
  let dense: GenerateResult;
  let exact: GenerateResult;

  /** Greedy, with the whole distribution of every step. */
  const generate = (...method: string[]): Promise<GenerateResult> =>
    dejavu(
      ...['generate', model, '-p', 'The Time Traveller', '--weights', 'f32', '--temperature', '0'],
      ...['--max-tokens', '12', '--logprobs', String(about.vocabulary), '--sparsity', ...method],
    );

  /** Bit for bit: the ids, and every step's probabilities of all ids. */
  const expectDense = (result: GenerateResult): void => {
    expect(result.ids).toEqual(dense.ids);
    expect(result.logprobs).toEqual(dense.logprobs);
    expect(result.density.heads).toBe(dense.density.heads);
    expect(result.bytesPerToken.dense).toBe(dense.bytesPerToken.dense);
    expect(result.bytesPerToken.kv).toBe(dense.bytesPerToken.kv);
  };

  beforeAll(async () => {
    cpSync(join(parity, name), model, { recursive: true });
    writeFileSync(join(model, 'tokenizer.json'), JSON.stringify(tokenizer));
    trained = await dejavu('train', model, '--text', textFile, '--steps', '8');
    dense = await generate('dense');
    exact = await generate('exact');
  }, 60_000);

  it('trains a predictor that keeps its model', async () => {
    expect(trained.predictor).toBe(join(model, 'predictor.safetensors'));
    expect(trained.layers).toHaveLength(about.layers);
    // Some of these random networks are sure of nonsense: few ids tell little of the loss.
    expect(Math.abs(trained.loss.sparse / trained.loss.dense - 1)).toBeLessThan(0.25);
    expect((await inspect(model)).predictor).toMatchObject({ matches: true });
  });

  it('dense computes and reads all', () => {
    const { weights, predictor, dense: all } = dense.bytesPerToken;
    expect(dense).toMatchObject({ sparsity: 'dense', density: { neurons: 1, heads: 1 } });
    expect(new Set(Object.values(dense.density.read))).toEqual(new Set([1]));
    expect([weights, predictor]).toEqual([all, 0]);
  });

  it('exact is dense, in fewer bytes', () => {
    expectDense(exact);
    // What it kept is what it carried on: of these matrices alone it read less than all.
    const { neurons, layers, read } = exact.density;
    expect(neurons).toBeGreaterThan(0);
    expect(neurons).toBeLessThan(1);
    expect(layers.reduce((sum, layer) => sum + layer.neurons, 0) / about.layers).toBe(neurons);
    expect(read.downProj).toBeCloseTo(neurons, 12);
    const whole = { ...dense.density.read, downProj: read.downProj };
    expect(read).toEqual(about.gated ? { ...whole, upProj: read.downProj } : whole);
    expect(exact.bytesPerToken.weights).toBeLessThan(dense.bytesPerToken.weights);
  });

  it('thresholds that select all are dense, for the price of predictors', async () => {
    const file = await readPredictor(trained.predictor, { ...about, endIds: [] });
    const all = join(folder, `${name}.all`);
    const thresholds = file.layers.map((layer) => ({
      neurons: -1e30,
      heads: layer.heads && -1e30,
    }));
    await writePredictor(all, { ...file, points: file.points.map((p) => ({ ...p, thresholds })) });
    const result = await generate('predictor', '--predictor', all);
    expectDense(result);
    const { read, ...shares } = result.density;
    const { read: _, ...whole } = dense.density;
    expect(shares).toEqual(whole);
    expect(read).toEqual(exact.density.read);
    expect(result.bytesPerToken.weights).toBe(exact.bytesPerToken.weights);
    expect(result.bytesPerToken.predictor).toBeGreaterThan(0);
  });

  it.each(['predictor', 'oracle', 'static', 'random'])(
    '%s asked for all is dense, without choosing',
    async (method) => {
      const result = await generate(method, '--neurons', '1', '--heads', '1');
      expectDense(result);
      expect(result.density).toEqual(exact.density);
      expect(result.bytesPerToken).toEqual(exact.bytesPerToken);
    },
  );

  it('shares that are asked for are computed, in every layer that has a predictor', async () => {
    const { layers } = (await generate('predictor', '--neurons', '0.5', '--heads', '0.5')).density;
    const half = Math.round(about.heads / 2) / about.heads;
    expect(layers.map(({ neurons }) => neurons)).toEqual(layers.map(() => 0.5));
    expect(layers.map(({ heads }) => heads)).toEqual(layers.map((_, l) => (l ? half : 1)));
  });

  it('trained thresholds compute less for a larger loss, and read what they compute', async () => {
    const at = (loss: string): Promise<GenerateResult> =>
      generate('predictor', '--max-loss', loss, '--heads', '1');
    const [near, far] = [await at('0.5%'), await at('5%')];
    expect(far.density.neurons).toBeLessThan(near.density.neurons);
    expect(near.density.neurons).toBeLessThan(1);
    for (const { density, bytesPerToken, sparsity } of [near, far]) {
      expect([sparsity, density.heads]).toEqual(['predictor', 1]);
      const { weights, dense: all, predictor } = bytesPerToken;
      expect(predictor).toBeGreaterThan(0);
      expect(predictor).toBeLessThan(all);
      // Rows of neurons that were not chosen, and at most those of chosen ones that were zero.
      const matrix = 4 * about.neurons * about.hiddenSize;
      const matrices = about.gated ? 3 : 2;
      const chosen = density.layers.reduce((sum, { neurons }) => sum + neurons, 0);
      const left = (about.layers - chosen) * matrices * matrix;
      const biases = 8 * about.neurons * about.layers;
      expect(all - weights).toBeGreaterThanOrEqual(left - 1e-6 * all);
      expect(all - weights).toBeLessThan(left + chosen * (matrices - 1) * matrix + biases);
      const mean = chosen / about.layers;
      expect(density.neurons).toBeCloseTo(mean, 12);
    }
  });
});

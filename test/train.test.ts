/**
 * Training end to end on a tiny random checkpoint of test/data/parity: the same bytes for the same
 * seed, also after an interruption, and a file that serves.
 */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../src/engine/local.ts';
import { train, type TrainOptions, type TrainResult } from '../src/train/train.ts';
import { readPredictor } from './support/by-path.ts';

const source = fileURLToPath(new URL('data/parity/gpt-neox-relu', import.meta.url));
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dejavu-train-'));
  cpSync(source, join(folder, 'model'), { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const open = (sparsity?: string, predictor?: string): Promise<Engine> =>
  Engine.open(join(folder, 'model'), {
    weights: 'f32',
    context: 64,
    ...(sparsity === undefined ? {} : { sparsity }),
    ...(predictor === undefined ? {} : { predictor }),
  });

/** A text with patterns to learn: ids of a small cycle with jumps. */
const text = Int32Array.from({ length: 64 * 40 }, (_, i) => ((i * i) % 97) + 3 * (i % 5));

const options = (name: string, more: Partial<TrainOptions> = {}): TrainOptions => ({
  texts: [text],
  output: join(folder, name),
  steps: 30,
  batch: 256,
  calibrationTokens: 96,
  seed: 5,
  ...more,
});

describe('train', () => {
  let result: TrainResult;
  let bytes: Buffer;

  it('writes a predictor for its model, and leaves nothing else behind', async () => {
    await using engine = await open('dense');
    const labels = new Set<string>();
    let share = 0;
    result = await train(
      engine,
      options('a', {
        onProgress: (progress) => {
          labels.add(progress.label);
          expect(progress.share).toBeGreaterThanOrEqual(share);
          share = progress.share;
        },
      }),
    );
    expect(labels).toContain('observe the dense model');
    expect(labels).toContain('fit layer 3 of 3');
    expect(labels).toContain('calibrate thresholds');
    expect(existsSync(`${join(folder, 'a')}.work`)).toBe(false);
    bytes = readFileSync(join(folder, 'a'));

    const file = await readPredictor(join(folder, 'a'), engine.description);
    expect(file.provenance).toEqual(result.provenance);
    expect(file.layers[0].heads).toBeUndefined();
    expect(file.layers[1].heads!.up.shape[0]).toBe(engine.description.heads);
    expect(file.points.map(({ maxLoss }) => maxLoss)).toContain(0.01);
    for (const { loss, maxLoss, densities, unions } of file.points) {
      expect(loss).toBeLessThan(maxLoss);
      expect(unions!.map(({ rows }) => rows)).toEqual([2, 4, 8, 16]);
      const selected = (neurons: readonly number[]): number => neurons.reduce((a, b) => a + b);
      const alone = selected(densities.map(({ neurons }) => neurons));
      const [two, , , sixteen] = unions!.map(({ neurons }) => selected(neurons));
      expect(sixteen).toBeGreaterThanOrEqual(two);
      if (alone < file.layers.length) expect(sixteen).toBeGreaterThan(alone);
    }
  });

  it('reports what the thresholds do', () => {
    for (const { neurons, heads } of result.layers)
      for (const site of [neurons, heads])
        for (const value of [site.recall, site.density, site.kept]) {
          expect(value).toBeGreaterThan(0);
          expect(value).toBeLessThanOrEqual(1);
        }
    expect(result.layers.some(({ neurons }) => neurons.density < 1)).toBe(true);
    expect(result.loss.sparse / result.loss.dense).toBeLessThan(1.02);
  });

  it("makes neurons' predictors of 2 bits and heads' of 4, goes on with them, and serves them", async () => {
    {
      await using engine = await open('dense');
      const stop = new AbortController();
      const two = options('two', { type: 'int2g128', rank: 64 });
      const interrupted = train(engine, {
        ...two,
        signal: stop.signal,
        onProgress: ({ label }) => label === 'fit layer 3 of 3' && stop.abort(),
      });
      await expect(interrupted).rejects.toThrow();
      const { provenance, loss } = await train(engine, two);
      expect(provenance.type).toBe('int2g128');
      expect(loss.sparse / loss.dense).toBeLessThan(1.02);
      const { layers } = await readPredictor(join(folder, 'two'), engine.description);
      for (const { neurons, heads } of layers) {
        expect([neurons!.down.dtype, neurons!.up.dtype]).toEqual(['int2g128', 'int2g128']);
        if (heads) expect([heads.down.dtype, heads.up.dtype]).toEqual(['int4', 'int4']);
      }
    }
    await using engine = await open('predictor', join(folder, 'two'));
    using session = engine.session();
    const logits = await session.prefill(text.subarray(0, 20));
    expect(logits.every(Number.isFinite)).toBe(true);
    expect((await session.decode(7)).every(Number.isFinite)).toBe(true);
  });

  it('gives the same bytes for the same seed, others for another', async () => {
    await using engine = await open('dense');
    await train(engine, options('b'));
    expect(readFileSync(join(folder, 'b')).equals(bytes)).toBe(true);
    await train(engine, options('c', { seed: 6 }));
    expect(readFileSync(join(folder, 'c')).equals(bytes)).toBe(false);
  });

  it('goes on after an interruption, to the same bytes, without fitting layers again', async () => {
    await using engine = await open('dense');
    const stop = new AbortController();
    const interrupted = train(
      engine,
      options('d', {
        signal: stop.signal,
        onProgress: ({ label }) => label === 'fit layer 3 of 3' && stop.abort(),
      }),
    );
    await expect(interrupted).rejects.toThrow();
    expect(existsSync(join(folder, 'd'))).toBe(false);
    expect(existsSync(`${join(folder, 'd')}.work`)).toBe(true);

    const labels = new Set<string>();
    await train(engine, options('d', { onProgress: ({ label }) => labels.add(label) }));
    expect(labels).not.toContain('fit layer 1 of 3');
    expect(labels).toContain('fit layer 3 of 3');
    expect(readFileSync(join(folder, 'd')).equals(bytes)).toBe(true);
  });

  it('serves: it is the default method beside its model, at the chosen loss or recall', async () => {
    cpSync(join(folder, 'a'), join(folder, 'model', 'predictor.safetensors'));
    const density = async (more: { maxLoss?: number; recall?: number }): Promise<number> => {
      await using engine = await Engine.open(join(folder, 'model'), { weights: 'f32', ...more });
      expect(engine.sparsity.name).toBe('predictor');
      const { density } = await engine.generate([5, 17, 9], { maxTokens: 24, ignoreEnd: true })
        .result;
      return density.neurons;
    };
    expect(await density({ maxLoss: 0.05 })).toBeLessThanOrEqual(
      await density({ maxLoss: 0.0025 }),
    );
    expect(await density({ recall: 0.5 })).toBeLessThan(await density({ recall: 0.99 }));
  });

  const others = ['bloom', 'falcon-40b', 'gpt2', 'mpt-foundry', 'qwen3-windows'];
  it.each(['opt', 'llama-gqa-tied', 'gpt-neox', ...others])(
    'serves %s, whatever its activation',
    async (name) => {
      const model = join(folder, name);
      cpSync(fileURLToPath(new URL(`data/parity/${name}`, import.meta.url)), model, {
        recursive: true,
      });
      {
        await using engine = await Engine.open(model, {
          weights: 'f32',
          context: 64,
          sparsity: 'dense',
        });
        await train(engine, { ...options(name), output: join(model, 'predictor.safetensors') });
      }
      await using engine = await Engine.open(model, { weights: 'f32', maxLoss: 0.05 });
      const { density } = await engine.generate([5, 17, 9], { maxTokens: 8, ignoreEnd: true })
        .result;
      expect(density.neurons).toBeLessThan(1);
      expect(density.neurons).toBeGreaterThan(0);
    },
  );

  it('refuses a predictor of another model, and a loss it was not calibrated for', async () => {
    const other = fileURLToPath(new URL('data/parity/llama-relu', import.meta.url));
    await expect(Engine.open(other, { predictor: join(folder, 'a') })).rejects.toMatchObject({
      code: 'BAD_PREDICTOR',
    });
    await expect(Engine.open(join(folder, 'model'), { maxLoss: 0.0001 })).rejects.toMatchObject({
      code: 'BAD_REQUEST',
    });
  });

  it('refuses text that is too short to hold any of it out', async () => {
    await using engine = await open('dense');
    await expect(train(engine, options('e', { texts: ['', [1, 2, 3]] }))).rejects.toMatchObject({
      code: 'NO_TOKENIZER',
    });
    await expect(train(engine, options('e', { texts: [[1, 2, 3]] }))).rejects.toMatchObject({
      code: 'BAD_TEXT',
    });
  });
});

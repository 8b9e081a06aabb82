import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { reference } from '../src/backends/reference/index.ts';
import type { BenchResult, BenchRun } from '../src/bench/bench.ts';
import { writeGguf } from '../src/bench/gguf.ts';
import { ggufModel } from '../src/bench/peers/architectures.ts';
import { syntheticCheckpoint } from '../src/loaders/synthetic.ts';
import { dejavu, dejavuJson } from './support/dejavu.ts';

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
    expect(predictor.breakEven).toEqual({ heads: 0, neurons: 0, carried: 0, inputs: 0 });
    expect((await dejavu([...argv, '40%'])).stdout).toContain(
      'layers that expect more than 40.0 % of the heads or 40.0 % of the neurons',
    );
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

describe('bench of a GGUF file', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'dejavu-bench-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const file = path.join(folder, 'tiny.gguf');
  beforeAll(async () => {
    const config = {
      ...{ model_type: 'llama', hidden_size: 64, intermediate_size: 96, vocab_size: 64 },
      ...{ num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
      ...{ max_position_embeddings: 64, hidden_act: 'silu', rms_norm_eps: 1e-5 },
      ...{ rope_theta: 10000, tie_word_embeddings: false },
    };
    const model = syntheticCheckpoint(config, await reference.open({}), { dtype: 'int4' });
    const { metadata, tensors } = ggufModel(model);
    writeFileSync(
      file,
      Buffer.concat([...writeGguf({ ...metadata, 'tokenizer.ggml.pre': 'gpt-2' }, tensors)]),
    );
  });

  test('measures the type that the file has, as it is opened, and others where asked', async () => {
    const argv = [
      ...['bench', file, '--methods', 'dense', '--context', '8'],
      ...['--steps', '1', '--rounds', '1'],
    ];
    const types = async (...more: string[]): Promise<string[]> => {
      const { runs } = await dejavuJson<BenchResult>([...argv, ...more]);
      return runs.map(({ phase, weights }) => `${phase} ${weights}`);
    };
    expect(await types()).toEqual(['decode int4', 'prefill int4']);
    expect(await types('--weights', 'f32')).toEqual(['decode f32', 'prefill f32']);
    expect((await dejavu(argv)).stdout).toMatch(/^dense +int4 +decode +1 /m);
  });
});

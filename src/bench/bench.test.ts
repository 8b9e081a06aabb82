import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { codeOf } from '../../test/support/code-of.ts';
import type { Backend } from '../backend.ts';
import { reference } from '../backends/reference/index.ts';
import { type BenchOptions, benchSubject, type BenchRun } from './bench.ts';
import { askedCaches } from './caches.ts';
import { bench } from './run.ts';
import type { Shape } from './shapes.ts';
import { usualType } from '../predictor.ts';
import { type Subject, syntheticSubject } from './subject.ts';

const llama: Shape = {
  name: 'tiny',
  config: {
    ...{ model_type: 'llama', hidden_size: 32, intermediate_size: 48, vocab_size: 64 },
    ...{ num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
    ...{ max_position_embeddings: 64, hidden_act: 'relu', mlp_bias: true, rms_norm_eps: 1e-5 },
    ...{ rope_theta: 10000, tie_word_embeddings: false, torch_dtype: 'float32' },
  },
  of: 2,
  neurons: () => [0.3, 0.3, 0.3],
  heads: 1,
};

/** OPT adds a learned embedding of each of 64 positions. */
const opt: Shape = {
  ...llama,
  config: {
    ...{ model_type: 'opt', hidden_size: 32, ffn_dim: 48, word_embed_proj_dim: 32, vocab_size: 64 },
    ...{ num_hidden_layers: 2, num_attention_heads: 4, max_position_embeddings: 64 },
    ...{ activation_function: 'relu', do_layer_norm_before: true, torch_dtype: 'float32' },
  },
};

let backend: Backend;
beforeAll(async () => {
  backend = await reference.open({});
});
afterAll(() => backend[Symbol.asyncDispose]());

async function measure(
  options: BenchOptions,
  { shape = llama, names = ['dense'] }: { shape?: Shape; names?: readonly string[] } = {},
): Promise<readonly BenchRun[]> {
  const subject: Subject = syntheticSubject(shape, backend, { weights: 'f32', names });
  try {
    return (await benchSubject(subject, 1, { rounds: 2, steps: 3, ...options })).runs;
  } finally {
    subject.release();
  }
}

test('a shape has predictors of the rank and the type that are asked for', () => {
  const predictors = (options: { rank?: number; predictorType?: 'int8' }) => {
    const subject = syntheticSubject(llama, backend, { weights: 'f32', names: [], ...options });
    subject.release();
    return subject.predictors;
  };
  expect(predictors({})).toEqual({ type: usualType, ranks: [128, 128] });
  expect(predictors({ rank: 64, predictorType: 'int8' })).toEqual({
    type: 'int8',
    ranks: [64, 64],
  });
});

/** Of f32, a token's keys and values of both heads in a layer of the Llama shape. */
const tokenBytes = 2 * 2 * 8 * 4;

describe('contexts and policies', () => {
  let runs: readonly BenchRun[];
  beforeAll(async () => {
    runs = await measure({
      ...{ context: [40, 60], kv: ['full', 'streaming', 'h2o'], kvBudget: 0.2, fill: 'random' },
      ...{ batch: [1, 3], breakEven: 'off' },
    });
  });
  const of = (context: number, policy: string, batch: number): BenchRun =>
    runs.find((r) => r.context === context && r.kv.policy === policy && r.batch === batch)!;

  it('are measured in every combination, at every number of texts', () => {
    expect(runs.map((r) => [r.context, r.kv.policy, r.batch])).toEqual(
      [40, 60].flatMap((context) =>
        ['full', 'streaming', 'h2o'].flatMap((policy) =>
          [1, 3].map((batch) => [context, policy, batch]),
        ),
      ),
    );
    expect(runs.every((r) => r.phase === 'decode' && r.filled === 'random')).toBe(true);
  });

  it('have bytes that a step reads and that caches take, counted by hand', () => {
    // 40 tokens and three steps; of 8 that stay, and the one that comes, h2o sees 9 in each layer.
    expect(of(40, 'full', 1).bytesPerToken.kv).toBe(2 * 43 * tokenBytes);
    expect(of(40, 'streaming', 1).bytesPerToken.kv).toBe(2 * 8 * tokenBytes);
    expect(of(40, 'h2o', 1).bytesPerToken.kv).toBe(2 * 9 * tokenBytes);
    expect(of(40, 'h2o', 3).bytesPerToken.kv).toBe(2 * 9 * tokenBytes);
    const { residentBytes } = of(40, 'full', 1).kv;
    expect(residentBytes).toBe(2 * 43 * tokenBytes);
    expect(of(40, 'full', 3).kv.residentBytes).toBe(3 * residentBytes);
    // 8 more slots to read a prompt; in each of both heads four numbers are known of a token.
    expect(of(40, 'h2o', 1).kv.residentBytes).toBe(2 * 16 * (tokenBytes + 2 * 4 * 4));
  });

  it('are at their budget when they are measured', () => {
    for (const run of runs) {
      const { policy, type, budget, keptTokens } = run.kv;
      expect(type).toBe('f32');
      expect(budget).toBe(policy === 'full' ? null : run.context / 5);
      expect(keptTokens).toBe(budget ?? run.context + 3);
    }
  });

  it('are compared with the full cache of the same context and number of texts', () => {
    for (const run of runs) {
      const full = of(run.context, 'full', run.batch);
      if (run === full) expect(run.besideFull).toEqual({ median: 1, min: 1, max: 1 });
      // Of two rounds: each ratio lies between those of the extremes.
      const { min, max } = run.besideFull!;
      const [ours, its] = [run.tokensPerSecond, full.tokensPerSecond];
      expect(min).toBeGreaterThanOrEqual(ours.min / its.max - 1e-12);
      expect(max).toBeLessThanOrEqual(ours.max / its.min + 1e-12);
      expect(max * min).toBeCloseTo((ours.max * ours.min) / (its.max * its.min), 6);
      expect(run.speedup).toEqual({ median: 1, min: 1, max: 1 });
      const { msPerToken, batch, tokensPerSecond } = run;
      expect(msPerToken.min * tokensPerSecond.max).toBeCloseTo(1000 * batch, 6);
      expect(msPerToken.max * tokensPerSecond.min).toBeCloseTo(1000 * batch, 6);
    }
  });
});

it('one context is what it was: a full cache, computed, and a prefill', async () => {
  const runs = await measure({ context: 10 }, { names: ['dense', 'exact'] });
  expect(runs.map((r) => [r.phase, r.method, r.context, r.filled])).toEqual([
    ['decode', 'dense', 10, 'prefill'],
    ['decode', 'exact', 10, 'prefill'],
    ['prefill', 'dense', 10, 'prefill'],
  ]);
  for (const { kv, besideFull } of runs) {
    expect(kv).toMatchObject({ policy: 'full', type: 'f32', budget: null });
    expect(besideFull).not.toBe(null);
  }
  expect(runs.map(({ kv }) => kv.keptTokens)).toEqual([13, 13, 10]);
});

it('a prefill under every policy, beside that of the full cache', async () => {
  const runs = await measure({ context: 40, kv: ['h2o', 'full'], kvBudget: 8, kvType: 'int8' });
  const prefills = runs.filter(({ phase }) => phase === 'prefill');
  expect(prefills.map(({ kv }) => [kv.policy, kv.keptTokens])).toEqual([
    ['h2o', 8],
    ['full', 40],
  ]);
  expect(prefills[1].besideFull).toEqual({ median: 1, min: 1, max: 1 });
  expect(prefills[0].besideFull!.median).not.toBe(1);
  // Codes of 8 numbers and a scale take 12 bytes.
  expect(runs[0].bytesPerToken.kv).toBe(2 * 9 * 2 * 2 * 12);
});

it('without the full cache there is nothing to compare with', async () => {
  const runs = await measure({ context: 40, kv: 'window', kvBudget: 8, fill: 'random' });
  expect(runs.map(({ besideFull }) => besideFull)).toEqual([null]);
});

it('policies take what they use of the budget, or have their own', () => {
  const { policies } = askedCaches({
    ...{ kv: ['full', { kv: 'streaming', kvBudget: 30 }, 'h2o'] },
    ...{ kvBudget: 0.5, heavy: 3, kvType: 'f16' },
  });
  expect(policies).toEqual([
    { kv: 'full', kvType: 'f16' },
    { kv: 'streaming', kvType: 'f16', kvBudget: 30 },
    { kv: 'h2o', kvType: 'f16', kvBudget: 0.5, heavy: 3 },
  ]);
});

const invalid: [string, BenchOptions][] = [
  ['no context', { context: [] }],
  ['half a token', { context: [16, 0.5] }],
  ['no policy', { kv: [] }],
  ['a policy that is not there', { kv: ['full', 'none'] }],
  ['a policy twice', { kv: ['h2o', { kv: 'h2o', kvBudget: 9 }] }],
  ['an option of none of the policies', { kv: ['full', 'streaming'], heavy: 5 }],
  ['a budget of one that has none', { kv: [{ kv: 'full', kvBudget: 9 }] }],
  ['a budget of no token', { kv: ['full', 'h2o'], kvBudget: 0 }],
];
test.each(invalid)('%s is refused before anything is opened', async (_, options) => {
  expect(await codeOf(bench({ model: 'nowhere' }, options))).toBe('BAD_REQUEST');
});

test('what only shapes have is refused of a model, and a peer beside what it cannot do', async () => {
  expect(await codeOf(bench({ model: 'nowhere', layers: 2 }))).toBe('BAD_REQUEST');
  for (const options of [
    { context: [16, 32] },
    { kv: 'streaming' },
    { fill: 'random' },
    { context: 8192 },
  ] as const)
    expect(await codeOf(bench({ model: 'nowhere' }, { peer: 'llama.cpp', ...options }))).toBe(
      'BAD_REQUEST',
    );
});

test('a model whose positions were learned is not taken past them', async () => {
  const short = { shape: opt };
  expect(await codeOf(measure({ context: 62 }, short))).toBe('BAD_REQUEST');
  expect(await codeOf(measure({ context: 61 }, short))).toBe('none');
  // It evicts, so its texts grow in every round: by 3 steps three times, and by those that are timed.
  const growing = { ...short, kv: 'h2o', kvBudget: 8 };
  expect(await codeOf(measure({ context: 47, ...growing }, short))).toBe('BAD_REQUEST');
  expect(await codeOf(measure({ context: 46, ...growing }, short))).toBe('none');
  expect(await codeOf(measure({ context: 40, kv: 'streaming' }, short))).toBe('BAD_REQUEST');
});

test('memory is planned: all caches at once, beside the weights', async () => {
  const options = {
    context: [20, 40],
    kv: ['full', 'h2o'],
    batch: [1, 3],
    fill: 'random',
  } as const;
  const subject = syntheticSubject(llama, backend, { weights: 'f32', names: ['dense'] });
  const all = 2 * 3 * tokenBytes * (23 + 43) + 2 * 3 * (tokenBytes + 32) * (4 + 8 + 8 + 8);
  const limit = subject.weightBytes + all;
  expect(await codeOf(benchSubject(subject, 1, { ...options, memoryLimit: limit - 1 }))).toBe(
    'OUT_OF_MEMORY',
  );
  expect(
    await codeOf(benchSubject(subject, 1, { ...options, rounds: 1, steps: 3, memoryLimit: limit })),
  ).toBe('none');
  subject.release();
});

import { existsSync, readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Backend, Program } from '../backend.ts';
import { f32, i32 } from '../rows.ts';
import { createCache } from '../kv/cache.ts';
import { full } from '../kv/full.ts';
import { unmoved } from '../kv/parts/layout.ts';
import type { Checkpoint } from '../loaders/checkpoint.ts';
import { readSafetensors } from '../loaders/files.ts';
import type { Forward } from '../model.ts';
import type { HostTensor } from '../op.ts';
import { Recorder } from '../program.ts';
import type { Sparsity } from '../sparsity.ts';
import { dense } from '../sparsity/dense.ts';
import { given } from '../sparsity/given.ts';
import type { Tensor } from '../tensor.ts';
import { loadCheckpoint } from '../../test/support/by-path.ts';
import { factoriesThatOpen } from '../../test/support/opens.ts';

/** Largest error, as a share of the expected values' range. */
const tolerance = 2e-4;
const folder = new URL('../../test/data/parity/', import.meta.url).pathname;
const names = readdirSync(folder);

const opening = await factoriesThatOpen('parity');

/** One recorded program of T rows with a cache of its own, run on token ids. */
interface Runner extends AsyncDisposable {
  run(tokens: ArrayLike<number>, position: number): Promise<void>;
  logits(): Promise<Float32Array>;
  hidden(): Promise<Float32Array[]>;
}

async function record(
  backend: Backend,
  model: Checkpoint,
  T: number,
  sparsity: Sparsity,
): Promise<Runner> {
  const { layers, kvHeads, headDim, context } = model.description;
  const shape = { layers, sequences: 1, kvHeads, headDim, capacity: context };
  const cache = createCache(backend, full, shape);
  const rows = (): Tensor => backend.allocate('i32', [T], 'state');
  const [tokens, positions, sequences] = [rows(), rows(), rows()];
  const g = new Recorder();
  const forward: Forward = model.family.forward(g, model.config, model.weights, {
    tokens,
    positions,
    cache: cache.begin(g, unmoved({ positions, sequences })),
    sparsity: sparsity.begin(g, { sequences, positions }),
    logits: 'all',
  });
  for (const tensor of [...forward.hidden, forward.logits]) g.keep(tensor);
  const program: Program = await backend.compile(g.finish());
  const read = async (tensor: Tensor): Promise<Float32Array> =>
    new Float32Array((await backend.read([tensor], program))[0].buffer);
  return {
    async run(ids, position) {
      backend.write(tokens, Int32Array.from(ids));
      backend.write(
        positions,
        Int32Array.from({ length: T }, (_, t) => position + t),
      );
      await backend.run(program);
    },
    logits: () => read(forward.logits),
    hidden: () => Promise.all(forward.hidden.map(read)),
    [Symbol.asyncDispose]: () => {
      program.release();
      cache[Symbol.dispose]();
      return Promise.resolve();
    },
  };
}

function expectClose(found: Float32Array, expected: Float32Array, what: string): void {
  expect(found.length, what).toBe(expected.length);
  let worst = 0;
  found.forEach((x, i) => (worst = Math.max(worst, Math.abs(x - expected[i]) || 0)));
  expect(found.every(Number.isFinite), `${what} is finite`).toBe(true);
  const range = expected.reduce((a, b) => Math.max(a, b)) - expected.reduce((a, b) => Math.min(a, b));
  expect(worst / range, `${what}: error as a share of the range`).toBeLessThan(tolerance);
}

const largest = (values: Float32Array): number =>
  values.reduce((best, x, i) => (x > values[best] ? i : best), 0);

/** Indices of what is set in `mask` [L, T, N] at one layer and token. */
function chosen(mask: HostTensor, layer: number, t: number): number[] {
  const [, T = 0, N = 0] = mask.shape;
  const start = (layer * T + t) * N;
  return Array.from({ length: N }, (_, n) => n).filter((n) => mask.bytes[start + n]);
}

test('checkpoints of every kind are there', () => {
  expect(names).toEqual(
    expect.arrayContaining(['gpt-neox', 'gpt-neox-relu', 'opt', 'opt-350m', 'llama3-rope']),
  );
});

const cases = opening.flatMap((factory) => names.map((name) => ({ factory, name })));

describe.each(cases)('$factory.name $name', ({ factory, name }) => {
  const path = `${folder}${name}`;
  const load = async (backend: Backend) => {
    const model = await loadCheckpoint(path, backend);
    const { tensors } = await readSafetensors(`${path}/golden.safetensors`);
    const golden = (key: string): HostTensor => tensors.get(key)!;
    return { model, golden, ids: i32(golden('input_ids')) };
  };

  test('prefill gives the hidden states and logits of transformers', async () => {
    await using backend = await factory.open({});
    const { model, golden, ids } = await load(backend);
    await using runner = await record(backend, model, ids.length, dense);
    await runner.run(ids, 0);
    expectClose(await runner.logits(), f32(golden('logits')), 'logits');
    for (const [i, hidden] of (await runner.hidden()).entries())
      expectClose(hidden, f32(golden(`hidden.${i}`)), `hidden.${i}`);
  });

  test('decode steps give the logits of prefill, then its greedy ids', async () => {
    await using backend = await factory.open({});
    const { model, golden, ids } = await load(backend);
    await using runner = await record(backend, model, 1, dense);
    const V = model.description.vocabulary;
    const expected = f32(golden('logits'));
    let logits = new Float32Array();
    for (const [t, id] of ids.entries()) {
      await runner.run([id], t);
      logits = Float32Array.from(await runner.logits());
      expectClose(logits, expected.subarray(t * V, (t + 1) * V), `logits after token ${t}`);
    }
    const greedy: number[] = [];
    for (let n = 0; n < 40; n++) {
      greedy.push(largest(logits));
      await runner.run([greedy[n]], ids.length + n);
      logits = Float32Array.from(await runner.logits());
    }
    expect(greedy).toEqual([...i32(golden('greedy_ids'))]);
  });

  test.skipIf(!existsSync(`${path}/masked.safetensors`))(
    'given heads and neurons give the masked logits of transformers',
    async () => {
      await using backend = await factory.open({});
      const { model, ids } = await load(backend);
      const { tensors } = await readSafetensors(`${path}/masked.safetensors`);
      const [neurons, heads, expected] = ['neurons', 'heads', 'logits'].map((k) => tensors.get(k)!);
      const choice = given(backend, model.description);
      await using runner = await record(backend, model, 1, choice);
      const V = model.description.vocabulary;
      for (const [t, id] of ids.entries()) {
        for (let layer = 0; layer < model.description.layers; layer++) {
          choice.choose('heads', layer, chosen(heads, layer, t));
          choice.choose('neurons', layer, chosen(neurons, layer, t));
        }
        await runner.run([id], t);
        const at = f32(expected).subarray(t * V, (t + 1) * V);
        expectClose(await runner.logits(), at, `logits after token ${t}`);
      }
    },
  );
});

import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { selectTop } from '../ops/select.ts';
import type { Candidates, Selection } from '../selector.ts';
import { methods } from '../sparsity/index.ts';
import { pays, type Sparsity } from '../sparsity.ts';
import { reshape, slice } from '../tensor.ts';
import { BreakEven, crossing, timeChoosing } from './break-even.ts';
import { Engine } from './local.ts';

const model = fileURLToPath(new URL('../../models/books-6m', import.meta.url));
let engine: Engine;
beforeAll(async () => {
  engine = await Engine.open(model, { context: 32 });
});
afterAll(() => engine[Symbol.asyncDispose]());

it.each<[string, number, number[], number]>([
  ['choosing all is no slower', 10, [2, 4, 6, 10], 1],
  ['halfway between two shares', 7, [2, 4, 6, 8], 0.875],
  ['at a share', 4, [2, 4, 6, 8], 0.5],
  ['below the least, on the line of the first two', 1, [2, 4, 6, 8], 0.125],
  ['never: choosing alone takes longer', 1, [4, 5, 6, 7], 0],
  ['never: what is chosen makes no difference', 1, [4, 4, 4, 4], 0],
  ['a bump below counts for nothing', 7, [8, 4, 6, 8], 0.875],
])('break-even: %s', (_what, all, chosen, share) => {
  expect(crossing(all, chosen, [0.25, 0.5, 0.75, 1])).toBeCloseTo(share, 12);
});

it('is asked once for a method and a number of rows', async () => {
  let begun = 0;
  const inner = engine.method('predictor');
  const method: Sparsity = {
    ...inner,
    begin(...step) {
      begun++;
      return inner.begin(...step);
    },
  };
  const breakEven = new BreakEven(engine.backend, engine.checkpoint);
  const first = await breakEven.at(method, 3);
  const times = begun;
  expect(first!.neurons).toBeGreaterThanOrEqual(0);
  expect(first!.neurons).toBeLessThanOrEqual(1);
  expect(await breakEven.at(method, 3)).toBe(first);
  expect(begun).toBe(times);
  await breakEven.at(method, 4);
  expect(begun).toBeGreaterThan(times);
});

it('one row alone always chooses', async () => {
  const breakEven = new BreakEven(engine.backend, engine.checkpoint);
  expect(await breakEven.at(engine.method('predictor'), 1)).toBeUndefined();
});

it.each(['dense', 'exact', 'oracle'])('%s does not choose for speed', async (name) => {
  const breakEven = new BreakEven(engine.backend, engine.checkpoint);
  expect(await breakEven.at(engine.method(name), 2)).toEqual({
    heads: 1,
    neurons: 1,
    carried: 1,
    inputs: 1,
  });
});

it.each(methods.map(({ name }) => name))('%s: counts the layers that choose', async (name) => {
  const choosing = await timeChoosing(engine.backend, engine.checkpoint, engine.method(name), 2, {
    ...{ heads: -1, neurons: 1, carried: 1, inputs: 1 },
  });
  expect(choosing.layers).toBe(engine.method(name).computesAll ? 0 : engine.description.layers);
});

describe.each(['carried', 'inputs'] as const)('what is %s', (skip) => {
  /** Leaves out half where that pays, and says which limits it was told. */
  const half = (told: (number | undefined)[]): Sparsity => ({
    name: 'half',
    begin(g, step) {
      told.push(step.limits?.[skip]);
      const choose = ({ values }: Candidates): Selection =>
        pays(step, skip, 0.5)
          ? selectTop(g, reshape(slice(values, 0, 1), [1, values.shape[1]]), values.shape[1] >> 1)
          : 'all';
      return {
        select: () => 'all',
        ...(skip === 'carried'
          ? { carry: (_, neurons) => choose(neurons) }
          : { inputs: { downProj: (_, x) => ({ select: choose(x) }) } }),
      };
    },
  });

  it('is measured, and computed whole where it does not pay', async () => {
    const told: (number | undefined)[] = [];
    const limits = await new BreakEven(engine.backend, engine.checkpoint).at(half(told), 4);
    expect(limits).toMatchObject({ heads: 1, neurons: 1 });
    expect(limits![skip]).toBeGreaterThanOrEqual(0);
    expect(limits![skip]).toBeLessThanOrEqual(1);
    expect(told).toContain(-1);
    expect(told).toContain(1);
    const layers = async (limit: number): Promise<number> => {
      const asked = { ...{ heads: 1, neurons: 1, carried: 1, inputs: 1 }, [skip]: limit };
      const { backend, checkpoint } = engine;
      return (await timeChoosing(backend, checkpoint, half(told), 4, asked)).layers;
    };
    expect(await layers(0.4)).toBe(0);
    expect(await layers(0.6)).toBe(engine.description.layers);
  });
});

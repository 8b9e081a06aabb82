import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { dense } from '../sparsity/dense.ts';
import { Engine } from './local.ts';
import { rowsOf } from './steps.ts';
import { Programs, type Recipe } from './programs.ts';
import type { StepProgram } from './step.ts';

const model = fileURLToPath(new URL('../../test/data/parity/llama-relu', import.meta.url));

it('what a step is asked for is part of what it is found by', async () => {
  await using engine = await Engine.open(model, { backend: 'reference' });
  using batch = engine.batch({ sequences: 1 });
  const text = batch.admit();
  const rows = rowsOf(text, Int32Array.of(5, 17, 9));
  const { vocabulary } = engine.description;
  const logits = (step: StepProgram): Promise<Float32Array> => step.logits();
  expect(await batch.extend(rows, { logits: 'last' }, logits)).toHaveLength(vocabulary);
  expect(await batch.extend(rows, { logits: 'all' }, logits)).toHaveLength(3 * vocabulary);
  const hidden = { logits: 'all', hidden: true } as const;
  expect(await batch.extend(rows, hidden, (step) => step.hidden())).not.toHaveLength(0);
  const loss = { logits: 'all', measure: 'loss', expected: Int32Array.of(17, 9, 1) } as const;
  const losses = await batch.extend(rows, loss, (step) => step.measured());
  expect(losses.every((nats) => nats > 0)).toBe(true);
});

const recipe = (rows: number): Recipe => ({
  ...{
    method: dense,
    rows,
    logits: 'all' as const,
    measure: undefined,
    hidden: false,
    chooses: false,
  },
});

/** Programs whose scratch is as many bytes as they have rows; what is released, in order. */
function programs(bounds: { bytes: number; anyway: number }) {
  const released: number[] = [];
  const recorded: number[] = [];
  const kept = new Programs(
    ({ rows }) => {
      recorded.push(rows);
      const release = (): number => released.push(rows);
      const step = { scratchBytes: rows, [Symbol.dispose]: release };
      return Promise.resolve(step as unknown as StepProgram);
    },
    () => Promise.resolve(),
    bounds,
  );
  const use = async (rows: number) => kept.find(recipe(rows)) ?? kept.record(recipe(rows));
  return { kept, use, recorded, released };
}

it('programs beyond the bound go, the least recently used first', async () => {
  const { use, released } = programs({ bytes: 10, anyway: 1 });
  for (const rows of [4, 3, 3, 2, 4]) await use(rows);
  await use(5);
  expect(released).toEqual([3, 2]);
});

it('some stay whatever they take', async () => {
  const { kept, use, released } = programs({ bytes: 10, anyway: 3 });
  for (const rows of [20, 30, 40]) await use(rows);
  expect(released).toEqual([]);
  await use(50);
  expect(released).toEqual([20]);
  expect(kept.size).toBe(3);
  kept[Symbol.dispose]();
  expect(released).toEqual([20, 30, 40, 50]);
});

it('where texts come and go, steps of every number of rows are recorded once', async () => {
  const { use, recorded, released } = programs({ bytes: 36, anyway: 3 });
  for (let round = 0; round < 5; round++) for (let rows = 1; rows <= 8; rows++) await use(rows);
  expect(recorded).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(released).toEqual([]);
});

/**
 * Backends around another: what it takes to add one is a factory, in one file, and its place in a list. What the
 * contract says of limits and of memory that turns out to be missing is tried on them.
 */
import { expect, it } from 'vitest';
import type { BackendFactory, OptOut } from '../src/backend.ts';
import { reference } from '../src/backends/reference/index.ts';
import { EngineError } from '../src/errors.ts';
import { Engine, type OpenOptions } from '../src/index.ts';
import { ops } from '../src/ops/index.ts';
import { size } from '../src/tensor.ts';
import { factoriesThatOpen } from './support/opens.ts';
import { casesOf } from './support/run-op.ts';
import { checkCase, conform, strayOptOuts } from './support/conformance.ts';
import { around, checked } from './support/wrapped.ts';

const folder = 'test/data/parity/llama-gqa-tied';
const prompt = [5, 6, 7, 8];
const oracle = { sparsity: 'oracle', heads: 0.5, neurons: 0.5 };

async function idsOf(
  factories: readonly BackendFactory[],
  method: Pick<OpenOptions, 'sparsity' | 'heads' | 'neurons'>,
): Promise<number[]> {
  const options = { backends: factories, weights: 'int8', ...method } as const;
  await using engine = await Engine.open(folder, options);
  const { ids } = await engine.generate(prompt, { maxTokens: 4, ignoreEnd: true }).result;
  return [...ids];
}

for (const factory of await factoriesThatOpen('wrapped'))
  it(`checks every op of a generation on ${factory.name} against its reference loop`, async () => {
    const counts = new Map<string, number>();
    const ids = await idsOf([checked(factory, counts)], oracle);
    expect(ids).toEqual(await idsOf([factory], oracle));
    for (const op of ['embed', 'norm', 'linear', 'rotary', 'store', 'attention', 'selectTop'])
      expect(counts.get(op), op).toBeGreaterThan(0);
  });

it('names a kernel that is wrong', async () => {
  const twice = around(reference, 'twice', (backend) => ({
    compile: (recording) =>
      backend.compile({
        ...recording,
        stages: recording.stages.map((stage) =>
          stage.map((command) => {
            const { op, operands } = command;
            return op.name === 'multiply'
              ? { ...command, operands: { ...operands, b: operands['a'] } }
              : command;
          }),
        ),
      }),
  }));
  await expect(idsOf([checked(twice)], { sparsity: 'dense' })).rejects.toThrow(
    /^multiply: element \d+/,
  );
});

/** Eight operands a kernel, as many as WebGPU lets a stage bind unless asked for more. */
const eight = around(reference, 'eight', () => ({ limits: { operands: 8, alignment: 256 } }));
const reason = 'binds more than eight buffers';
const optsOut: OptOut[] = ops.flatMap((op) =>
  casesOf(op)
    .filter(({ operands }) => Object.values(operands).filter(Boolean).length > 8)
    .map((example) => ({ op: op.name, case: example.name, reason })),
);
await conform({ ...eight, optsOut });

it('is refused when a model is opened, with every reason, not when it runs', async () => {
  const noNorm = around(reference, 'normless', () => ({
    refuses: ({ op }) => (/norm|embed/.test(op.name) ? 'no kernel' : undefined),
  }));
  await expect(Engine.open(folder, { backends: [noNorm] })).rejects.toMatchObject({
    code: 'BACKEND_REFUSES',
    message: expect.stringMatching(
      /cannot run embed: no kernel; norm: no kernel; expected/,
    ) as string,
  });
  const notes: string[] = [];
  const onNote = (note: string): unknown => notes.push(note);
  await using engine = await Engine.open(folder, { backends: [noNorm, reference], onNote });
  expect(engine.backend.name).toBe('reference');
  expect(notes).toEqual([expect.stringContaining('normless backend: cannot run embed')]);
});

it('memory that turns out to be missing later is told when a model is opened', async () => {
  const late = around(reference, 'late', (backend) => {
    let missing: string | undefined;
    return {
      allocate(dtype, shape, role) {
        if (role === 'weights') missing = `late backend: ${size(shape)} numbers of ${role}`;
        return backend.allocate(dtype, shape, role);
      },
      read: (...asked) =>
        missing === undefined
          ? backend.read(...asked)
          : Promise.reject(new EngineError('OUT_OF_MEMORY', missing)),
    };
  });
  await expect(Engine.open(folder, { backends: [late] })).rejects.toMatchObject({
    code: 'OUT_OF_MEMORY',
    message: expect.stringMatching(/^late backend: \d+ numbers of weights/) as string,
  });
});

it('fails a case that is refused without a reason, and what opts out of nothing', async () => {
  await using backend = await eight.open({});
  const { op: name, case: title } = optsOut[0];
  const op = ops.find((candidate) => candidate.name === name)!;
  const example = casesOf(op).find((candidate) => candidate.name === title)!;
  await expect(checkCase(backend, op, example)).rejects.toThrow(
    /^\w+ of \w+ \w+ \[.*\].*: refused: \w+ with \d+ operands: its kernels take 8; expected a kernel, or/,
  );
  expect(strayOptOuts([{ op: 'evict', reason }, ...optsOut])).toEqual([]);
  const stray = [
    { op: 'evicted', reason },
    { op: 'evict', case: 'no such case', reason },
  ];
  expect(strayOptOuts(stray)).toEqual(stray);
});

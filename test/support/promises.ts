import { expect, it } from 'vitest';
import type { Backend } from '../../src/backend.ts';
import type { Case, Op } from '../../src/op.ts';
import { attentionOp } from '../../src/ops/attention.ts';
import { Inputs, output } from '../../src/ops/cases/inputs.ts';
import { add } from '../../src/ops/elementwise.ts';
import { ops } from '../../src/ops/index.ts';
import { linear, linearOp } from '../../src/ops/linear.ts';
import { Recorder } from '../../src/program.ts';
import { f32, hostTensor } from '../../src/rows.ts';
import { slice } from '../../src/tensor.ts';
import { expectClose, expected, runOp } from './run-op.ts';

/** What the contract of backends promises besides its ops, as tests of the one that `opened` gives. */
export function promises(opened: () => Backend): void {
  it('attends each row to its own sequence, whatever rows stand beside it', async () => {
    const backend = opened();
    const [random, B, T, H, D, S] = [new Inputs(32), 3, 9, 2, 24, 40];
    const example: Case = {
      name: '',
      operands: {
        q: random.numbers([T, H, D]),
        keys: random.numbers([B, H, S, D]),
        values: random.numbers([B, H, S, D]),
        sequences: random.integers([0, 0, 0, 2, 1, 1, 0, 1, 2]),
        slots: random.integers([3, 39, 17, 39, 0, 20, 30, 5, 12]),
        y: output([T, H, D]),
      },
      params: { scale: 0.2, window: 0, sinks: 0, recent: 0, latest: 0 },
    };
    const op: Op = attentionOp;
    const { y } = await runOp(backend, op, example.operands, example.params);
    expectClose(y, expected(op, example).y, 1e-5);
  });

  it('runs stages in order and reads kept scratch', async () => {
    const backend = opened();
    const random = new Inputs(30);
    const [x, w] = [random.numbers([2, 40]), random.numbers([40, 40])];
    const [input, weights] = [x, w].map(({ dtype, shape }) =>
      backend.allocate(dtype, shape, 'state'),
    );
    backend.write(input, x.bytes);
    backend.write(weights, w.bytes);
    const g = new Recorder();
    const [a, b] = [add(g, input, input), linear(g, { x: input, w: weights })];
    const y = g.keep(add(g, a, b));
    const recording = g.finish();
    expect(recording.stages.map((stage) => stage.length)).toEqual([2, 1]);
    const program = await backend.compile(recording);
    for (let run = 0; run < 3; run++) await backend.run(program);
    const { y: product } = expected(linearOp, {
      name: '',
      operands: { x, w, y: output([2, 40]) },
      params: { activation: 0, block: 1 },
    });
    const wanted = hostTensor('f32', [2, 40]);
    f32(wanted).forEach((_, i, all) => (all[i] = 2 * f32(x)[i] + f32(product)[i]));
    expectClose({ ...wanted, bytes: (await backend.read([y], program))[0] }, wanted, 1e-5);
    program.release();
  });

  it('runs programs one after another, in the order of the calls', async () => {
    const backend = opened();
    const one = hostTensor('f32', [1, 5]);
    f32(one).fill(1);
    const [x, step] = [one, one].map(() => backend.allocate('f32', [1, 5], 'state'));
    backend.write(step, one.bytes);
    const g = new Recorder();
    const next = add(g, x, step);
    g.record(
      ops.find(({ name }) => name === 'add')!,
      { a: next, b: x, y: x },
      {},
    );
    const program = await backend.compile(g.finish());
    await Promise.all(Array.from({ length: 20 }, () => backend.run(program)));
    const found = new Float32Array((await backend.read([x]))[0].buffer);
    expect(found).toEqual(new Float32Array(5).fill(2 ** 20 - 1));
    program.release();
  });

  it('refuses what it has no kernel for before it runs', async () => {
    const backend = opened();
    const g = new Recorder();
    const x = backend.allocate('f32', [1, 5], 'state');
    const nonsense = { ...ops.find(({ name }) => name === 'add')!, name: 'nonsense' };
    g.record(nonsense, { a: x, b: x, y: g.scratch('f32', [1, 5]) }, {});
    await expect(backend.compile(g.finish())).rejects.toMatchObject({
      code: 'BACKEND_REFUSES',
      message: expect.stringMatching(/nonsense: /) as string,
    });
  });

  it('reads several tensors in one go, and no scratch that was not kept', async () => {
    const backend = opened();
    const numbers = Float32Array.of(1, 2, 3);
    const x = backend.allocate('f32', [1, 3], 'state');
    backend.write(x, numbers);
    const g = new Recorder();
    const twice = add(g, x, x);
    const y = g.keep(add(g, twice, x));
    const program = await backend.compile(g.finish());
    expect(program.scratchBytes).toBeGreaterThanOrEqual(24);
    await backend.run(program);
    const found = await backend.read([y, x, slice(x, 0, 1)], program);
    expect(found.map(({ buffer }) => new Float32Array(buffer))).toEqual([
      numbers.map((n) => 3 * n),
      numbers,
      numbers,
    ]);
    expect(await backend.read([])).toEqual([]);
    await expect(backend.read([x, twice], program)).rejects.toThrow('was not kept');
    await expect(backend.read([y])).rejects.toThrow('has no program');
    program.release();
  });

  it('writes as many bytes as a tensor has, and no other number', () => {
    const backend = opened();
    const x = backend.allocate('f32', [2, 3], 'state');
    for (const count of [0, 5, 7])
      expect(() => backend.write(x, new Float32Array(count))).toThrow(
        `${4 * count} bytes are written to a tensor f32 [2,3]; expected 24`,
      );
  });
}

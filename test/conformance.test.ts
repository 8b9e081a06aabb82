import './support/all-isas.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend, Program } from '../src/backend.ts';
import { firstThatOpens } from '../src/backends/open.ts';
import { native, openNative } from '../src/backends/native/index.ts';
import { reference } from '../src/backends/reference/index.ts';
import { f32, hostTensor, u32 } from '../src/rows.ts';
import type { Case, HostTensor, Op } from '../src/op.ts';
import { attentionOp } from '../src/ops/attention.ts';
import { Inputs, output } from '../src/ops/cases.ts';
import { add } from '../src/ops/elementwise.ts';
import { ops } from '../src/ops/index.ts';
import { linear, linearOp } from '../src/ops/linear.ts';
import { linearTransposed, linearTransposedOp } from '../src/ops/linear-transposed.ts';
import { norm } from '../src/ops/norm.ts';
import { selectTop } from '../src/ops/select.ts';
import { weightTypes } from '../src/ops/shape.ts';
import { Recorder } from '../src/program.ts';
import { isQuantized, size, slice, type Tensor } from '../src/tensor.ts';

type Operands = Record<string, HostTensor | undefined>;

/** Runs one op on a backend; returns what it wrote, by operand name. */
async function runOp(
  backend: Backend,
  op: Op,
  operands: Operands,
  params: Record<string, number>,
): Promise<Record<string, HostTensor>> {
  const tensors: Record<string, Tensor> = {};
  for (const [name, host] of Object.entries(operands))
    if (host) {
      tensors[name] = backend.allocate(host.dtype, host.shape, 'state');
      backend.write(tensors[name], host.bytes);
    }
  const g = new Recorder();
  g.record(op, tensors, params);
  const program = await backend.compile(g.finish());
  await backend.run(program);
  const written: Record<string, HostTensor> = {};
  for (const name of op.writes)
    if (operands[name])
      written[name] = { ...operands[name], bytes: (await backend.read([tensors[name]]))[0] };
  program.release();
  Object.values(tensors).forEach((tensor) => backend.free(tensor));
  return written;
}

const copy = (t: HostTensor): HostTensor => ({ ...t, bytes: t.bytes.slice() });

/** Each op's cases, and what the reference loop writes for each, are the same for every backend. */
const cases = new Map(ops.map((op) => [op, op.cases()]));
const casesOf = (op: Op): readonly Case[] => cases.get(op)!;
const answers = new WeakMap<Case, Record<string, HostTensor>>();
function expected(op: Op, example: Case): Record<string, HostTensor> {
  const known = answers.get(example) ?? computed(op, example);
  answers.set(example, known);
  return known;
}

function computed(op: Op, { operands, params }: Case): Record<string, HostTensor> {
  const copies = Object.fromEntries(
    Object.entries(operands).map(([name, host]) => [name, host && copy(host)]),
  );
  op.reference(copies, params);
  return Object.fromEntries(
    op.writes.flatMap((name) => (copies[name] ? [[name, copies[name]]] : [])),
  );
}

/** Fails where `found` is further from `wanted` than `tolerance` of its largest magnitude. */
function expectClose(found: HostTensor, wanted: HostTensor, tolerance: number): void {
  if (wanted.dtype === 'u32') return expectSelections(u32(found), u32(wanted), wanted.shape);
  if (wanted.dtype !== 'f32') return expect(found.bytes).toEqual(wanted.bytes);
  const [a, b] = [f32(found), f32(wanted)];
  const range = b.reduce((peak, x) => (Math.abs(x) > peak ? Math.abs(x) : peak), 0);
  b.forEach((x, i) => {
    const near = Number.isNaN(x) ? Number.isNaN(a[i]) : Math.abs(a[i] - x) <= tolerance * range;
    if (!near) expect.fail(`element ${i}: ${a[i]}, expected ${x} within ${tolerance * range}`);
  });
}

/** Rows of a selection agree up to their count; what lies beyond it is nobody's. Counts are rank 1. */
function expectSelections(a: Uint32Array, b: Uint32Array, shape: readonly number[]): void {
  if (shape.length === 1) return expect(a).toEqual(b);
  const [rows = 0, stride = 0] = shape;
  for (let row = 0; row < rows; row++) {
    const count = b[row * stride];
    const end = row * stride + 1 + count;
    expect(a.slice(row * stride, end)).toEqual(b.slice(row * stride, end));
  }
}

/** Instruction sets that multiply in bf16 where an op lets them. */
const hasTiles = (isa: string): boolean => isa === 'amx';

const configurations = [
  { name: 'reference', tiles: false, open: () => reference.open({}) },
  ...native.isas().flatMap((isa) =>
    [1, 2].map((threads) => ({
      name: `native ${isa} threads ${threads}`,
      tiles: hasTiles(isa),
      open: () => native.open({ isa, threads }),
    })),
  ),
];

if (native.isas().length === 0)
  console.warn('conformance: the native backend is not built; only the reference is tested');

describe.each(configurations)('$name', ({ open, tiles }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await open();
  });
  afterAll(() => backend[Symbol.asyncDispose]());

  for (const op of ops)
    describe(op.name, () => {
      it.each(casesOf(op))('$name', async (example) => {
        const found = await runOp(backend, op, example.operands, example.params);
        const tolerance = (tiles && example.tileTolerance) || (example.tolerance ?? 1e-5);
        for (const [name, wanted] of Object.entries(expected(op, example)))
          expectClose(found[name], wanted, tolerance);
      });
    });

  it('attends each row to its own sequence, whatever rows stand beside it', async () => {
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
    const x = backend.allocate('f32', [2, 3], 'state');
    for (const count of [0, 5, 7])
      expect(() => backend.write(x, new Float32Array(count))).toThrow(
        `${4 * count} bytes are written to a tensor f32 [2,3]; expected 24`,
      );
  });
});

/** Shapes that the identities below are tried on: mat-vec, few rows, many rows. */
const batches = [1, 3, 11];

describe.each(native.isas())('identities, %s', (isa) => {
  const random = new Inputs(31);
  let one: Backend;
  let many: Backend;
  /** More threads than there are tasks meant for one, and than most stages have tasks. */
  let crowd: Backend;
  beforeAll(async () => {
    one = await native.open({ isa, threads: 1 });
    many = await native.open({ isa, threads: 3 });
    crowd = await native.open({ isa, threads: 15 });
  });
  afterAll(async () => {
    for (const backend of [one, many, crowd]) await backend[Symbol.asyncDispose]();
  });

  const bits = async (backend: Backend, op: Op, operands: Operands, params = {}) => {
    const written = await runOp(backend, op, operands, params);
    return Buffer.concat(Object.values(written).map(({ bytes }) => bytes));
  };

  it.each(ops)('$name: any number of threads gives the same bits', async (op) => {
    for (const { operands, params } of casesOf(op))
      expect(await bits(many, op, operands, params)).toEqual(await bits(one, op, operands, params));
  });

  it('a thread that is held up while it looks ahead does no harm', async () => {
    const [N, rounds] = [512, 24];
    const run = async (backend: Backend, times: number): Promise<Uint8Array> => {
      const place = ({ dtype, shape, bytes }: HostTensor): Tensor => {
        const tensor = backend.allocate(dtype, shape, 'state');
        backend.write(tensor, bytes);
        return tensor;
      };
      const numbers = new Inputs(7);
      const up = place(numbers.numbers([N, N]));
      const down = place(numbers.numbers([N, N]));
      const first = place(numbers.numbers([1, N]));
      // Where a selection was, floats lie soon after: as a count they would be a billion.
      const g = new Recorder();
      let x = first;
      for (let i = 0; i < rounds; i++) {
        const select = selectTop(g, x, 16);
        const h = linear(g, { x, w: up, select, activation: 'relu' });
        x = norm(g, linearTransposed(g, { x: h, w: down, select, add: x }), { eps: 1, rms: true });
      }
      g.keep(x);
      const program = await backend.compile(g.finish());
      for (let i = 0; i < times; i++) await backend.run(program);
      const result = (await backend.read([x], program))[0];
      program.release();
      [up, down, first].forEach((tensor) => backend.free(tensor));
      return result;
    };
    expect(await run(crowd, 600)).toEqual(await run(one, 1));
  });

  const all = (rows: number, n: number): HostTensor => random.selection(rows, n, 2);
  const [N, E] = [300, 517];

  describe.each(weightTypes.flatMap((type) => batches.map((T) => ({ type, T }))))(
    '$type, $T rows',
    ({ type, T }) => {
      const w = random.numbers([N, E], type);
      const project = { x: random.numbers([T, E]), w, y: output([T, N]) };
      const combine = { x: random.numbers([T, N]), w, y: output([T, E]) };
      const cases: [Op, Operands, Record<string, number>][] = [
        [linearOp, project, { activation: 4 }],
        [linearTransposedOp, combine, {}],
      ];

      it.each(cases)('threads share large work without changing bits', async (op, operands, p) => {
        const params = { ...p, block: 1 };
        const alone = await bits(one, op, operands, params);
        expect(await bits(many, op, operands, params)).toEqual(alone);
        if (type === 'int4') expect(await bits(crowd, op, operands, params)).toEqual(alone);
      });

      it.each(cases)('selecting all equals dense, bit for bit', async (op, operands, p) => {
        for (const block of [1, 20]) {
          const params = { ...p, block };
          const select = all(1, N / block);
          const dense = await bits(many, op, operands, params);
          expect(await bits(many, op, { ...operands, select }, params)).toEqual(dense);
        }
      });

      it.each(cases)(
        'a row with its own selection has the bits it has alone',
        async (op, operands, p) => {
          const { x, y } = operands as Record<string, HostTensor>;
          const part = (t: HostTensor, row: number): HostTensor => ({
            ...t,
            shape: [1, t.shape[1]],
            bytes: t.bytes.slice(row * 4 * t.shape[1], (row + 1) * 4 * t.shape[1]),
          });
          for (const block of [1, 20]) {
            const params = { ...p, block };
            const alone: Uint8Array[] = [];
            for (let row = 0; row < T; row++) {
              const one = { ...operands, x: part(x, row), y: part(y, row) };
              alone.push((await runOp(many, op, one, params)).y.bytes);
            }
            const own = await runOp(many, op, { ...operands, select: all(T, N / block) }, params);
            expect(Buffer.from(own.y.bytes)).toEqual(Buffer.concat(alone));
          }
        },
      );

      it('linear: a selected row has the bits it has in a dense run', async () => {
        const params = { activation: 2, block: 1 };
        const dense = new Float32Array(
          (await runOp(many, linearOp, project, params)).y.bytes.buffer,
        );
        const select = random.selection(T, N, 0.3);
        const found = await runOp(many, linearOp, { ...project, select }, params);
        const kept = new Float32Array(T * N).fill(NaN);
        for (let t = 0; t < T; t++) {
          const row = u32(select).subarray(t * (1 + N), (t + 1) * (1 + N));
          for (const n of row.subarray(1, 1 + row[0])) kept[t * N + n] = dense[t * N + n];
        }
        expect(f32(found.y)).toEqual(kept);
      });

      it('linearTransposed: leaving out zeros changes no bit', async () => {
        const select = random.selection(1, N, 0.3);
        const x = hostTensor('f32', [T, N]);
        const [count] = u32(select);
        for (let t = 0; t < T; t++)
          for (const n of u32(select).subarray(1, 1 + count))
            f32(x)[t * N + n] = random.uniform() - 0.5;
        const op = linearTransposedOp as unknown as Op;
        const params = { block: 1 };
        const { y: dense } = await runOp(many, op, { ...combine, x }, params);
        const { y: sparse } = await runOp(many, op, { ...combine, x, select }, params);
        // Tiles of 32 inputs are other tiles then.
        if (hasTiles(isa) && isQuantized(type) && T >= 8) expectClose(sparse, dense, 1e-6);
        else expect(sparse.bytes).toEqual(dense.bytes);
      });
    },
  );

  it.each([40, 128, 500])(
    'linear: rounded rows of %i have the same bits in any company',
    async (E) => {
      const [N, T] = [75, 5];
      const params = { activation: 0, block: 1 };
      for (const type of weightTypes.filter(isQuantized)) {
        const w = random.numbers([N, E], type);
        const x = random.numbers([T, E], 'int8');
        const select = random.selection(1, N, 0.5);
        const each = x.bytes.length / T;
        const together = await runOp(many, linearOp, { x, w, y: output([T, N]) }, params);
        for (let t = 0; t < T; t++) {
          const row = { ...x, shape: [1, E], bytes: x.bytes.slice(t * each, (t + 1) * each) };
          const wanted = f32(together.y).subarray(t * N, (t + 1) * N);
          const alone = await runOp(many, linearOp, { x: row, w, y: output([1, N]) }, params);
          expect(f32(alone.y)).toEqual(wanted);
          const some = await runOp(
            many,
            linearOp,
            { x: row, w, select, y: output([1, N]) },
            params,
          );
          for (const n of u32(select).subarray(1, 1 + u32(select)[0]))
            expect(f32(some.y)[n]).toBe(wanted[n]);
        }
      }
    },
  );
});

describe.skipIf(native.isas().length === 0)('the native backend', () => {
  /** A program of some milliseconds. */
  function work(backend: Backend, T = 64, N = 1024): Promise<Program> {
    const [x, w] = [
      [T, N],
      [N, N],
    ].map((shape) => backend.allocate('f32', shape, 'state'));
    const g = new Recorder();
    let y = x;
    for (let i = 0; i < 20; i++) y = linear(g, { x: y, w });
    g.keep(y);
    return backend.compile(g.finish());
  }

  it('leaves the event loop free while a program runs', async () => {
    await using backend = await native.open({ threads: 1 });
    const program = await work(backend);
    let done = false;
    const run = backend.run(program).then(() => (done = true));
    let turns = 0;
    while (!done) {
      await new Promise((resolve) => setImmediate(resolve));
      turns++;
    }
    await run;
    expect(turns).toBeGreaterThan(10);
  });

  it('gives pieces that share pages zeros of their own', async () => {
    await using backend = await native.open({ threads: 1 });
    const [pieces, size] = [70, 150_001]; // of 600 KB: more than one region of memory
    const allocate = (): Tensor => backend.allocate('f32', [size], 'state');
    const numbers = async (t: Tensor): Promise<Float32Array> =>
      new Float32Array((await backend.read([t]))[0].slice().buffer);
    const tensors = Array.from({ length: pieces }, allocate);
    for (const [i, tensor] of tensors.entries()) {
      expect((await numbers(tensor)).every((x) => x === 0)).toBe(true);
      backend.write(tensor, new Float32Array(size).fill(i + 1));
    }
    const large = backend.allocate('f32', [1_500_000], 'state'); // holds whole huge pages
    tensors.forEach((tensor, i) => i % 2 && backend.free(tensor));
    backend.free(large);
    const fresh = Array.from({ length: pieces }, allocate);
    for (const tensor of fresh) expect((await numbers(tensor)).every((x) => x === 0)).toBe(true);
    for (let i = 0; i < pieces; i += 2)
      expect((await numbers(tensors[i])).every((x) => x === i + 1)).toBe(true);
    for (const tensor of [...fresh, ...tensors.filter((_, i) => i % 2 === 0)]) backend.free(tensor);
  });

  it('frees memory that a compiled program still points into only with the program', async () => {
    await using backend = await native.open({ threads: 2 });
    const a = backend.allocate('f32', [1, 1 << 20], 'state');
    const g = new Recorder();
    const y = g.keep(add(g, a, a));
    const program = await backend.compile(g.finish());
    backend.free(a);
    await backend.run(program);
    expect(size(y.shape)).toBe((await backend.read([y], program))[0].byteLength / 4);
    expect(() => backend.write(a, new Float32Array(1 << 20))).toThrow(TypeError);
    program.release();
    await expect(backend.run(program)).rejects.toThrow(/released/);
  });

  it('refuses operands that lie outside their memory', async () => {
    await using backend = await native.open({});
    const a = backend.allocate('f32', [1, 8], 'state');
    const g = new Recorder();
    add(g, { ...a, byteOffset: 4 }, a);
    await expect(backend.compile(g.finish())).rejects.toThrow(/add/);
  });

  it('refuses instruction sets and threads there are not', async () => {
    await expect(native.open({ isa: 'sse9' })).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      message: expect.stringContaining('scalar') as string,
    });
    await expect(native.open({ threads: 0 })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });
});

it('says why the addon does not load, and auto passes on with that note', async () => {
  const missing = {
    name: 'native',
    summary: 'has no addon',
    open: (options: object) => openNative(options, import.meta.dirname),
  };
  await expect(missing.open({})).rejects.toMatchObject({
    code: 'BACKEND_UNAVAILABLE',
    message: expect.stringContaining('install.mjs') as string,
  });
  const { backend, notes } = await firstThatOpens([missing, reference], {});
  expect(backend.name).toBe('reference');
  expect(notes).toEqual([expect.stringContaining('No native build')]);
});

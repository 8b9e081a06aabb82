/** What must hold of the compiled kernels of every instruction set, bit for bit, whatever they compute. */
import './support/all-isas.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend } from '../src/backend.ts';
import { native } from '../src/backends/native/index.ts';
import type { HostTensor, Op } from '../src/op.ts';
import { activationCode } from '../src/ops/activation.ts';
import { Inputs, output, tileTolerance } from '../src/ops/cases/inputs.ts';
import { ops } from '../src/ops/index.ts';
import { linear, linearOp } from '../src/ops/linear.ts';
import { linearTransposed, linearTransposedOp } from '../src/ops/linear-transposed.ts';
import { norm } from '../src/ops/norm.ts';
import { selectTop } from '../src/ops/select.ts';
import { weightTypes } from '../src/ops/shape.ts';
import { Recorder } from '../src/program.ts';
import { codeWriter, f32, hostTensor, u32 } from '../src/rows.ts';
import { isQuantized, type Tensor } from '../src/tensor.ts';
import { casesOf, expectClose, type Operands, runOp } from './support/run-op.ts';

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

  it.each(batches)('codes of -128, which others write, %i rows', async (T) => {
    const [N, E] = [37, 160];
    const w = hostTensor('int8', [N, E]);
    const write = codeWriter(w);
    const codes = new Int8Array(E);
    const steps = new Uint16Array(E / 32).fill(0x2c00);
    for (let n = 0; n < N; n++) {
      for (let e = 0; e < E; e++) codes[e] = (n + e) % 3 ? -128 : 127 - n;
      write(n, codes, steps);
    }
    for (const x of ['int8', 'f32'] as const) {
      const operands = { x: random.numbers([T, E], x), w, y: output([T, N]) };
      const params = { activation: activationCode('none'), block: 1 };
      const { y } = await runOp(one, linearOp, operands, params);
      linearOp.reference(operands, params);
      expectClose(y, operands.y, T < 8 ? 1e-5 : tileTolerance);
    }
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
        if (many.info.bf16Products && isQuantized(type) && T >= 8) expectClose(sparse, dense, 1e-6);
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

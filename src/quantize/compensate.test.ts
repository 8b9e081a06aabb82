import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Backend } from '../backend.ts';
import { factoriesThatOpen } from '../../test/support/opens.ts';
import { f32, hostTensor, rowReader } from '../rows.ts';
import type { HostTensor } from '../op.ts';
import { Inputs } from '../ops/cases/inputs.ts';
import { compensate } from './compensate.ts';
import { factorize } from './feedback.ts';
import { modelTypes, type QuantizedType } from '../tensor.ts';
import { nearest } from './roundings.ts';

const opened = await Promise.all(
  (await factoriesThatOpen('compensate')).map((factory) => factory.open({})),
);

/** Inputs [T, N] that share a few causes, as activations do. */
function activations(T: number, N: number, seed: number): Float32Array {
  const random = new Inputs(seed);
  const causes = Math.max(1, N >> 2);
  const mixing = f32(random.numbers([causes, N]));
  const x = new Float32Array(T * N);
  for (let t = 0; t < T; t++) {
    const cause = Float32Array.from({ length: causes }, () => 2 * random.uniform() - 1);
    for (let i = 0; i < N; i++) {
      let sum = 0.1 * (2 * random.uniform() - 1);
      for (let k = 0; k < causes; k++) sum += cause[k] * mixing[k * N + i];
      x[t * N + i] = sum;
    }
  }
  return x;
}

function gram(x: Float32Array, N: number): Float32Array {
  const sums = new Float32Array(N * N);
  for (let t = 0; t * N < x.length; t++)
    for (let i = 0; i < N; i++)
      for (let j = 0; j < N; j++) sums[i * N + j] += x[t * N + i] * x[t * N + j];
  return sums;
}

const numbers = (t: HostTensor): Float32Array => {
  const [rows = 0, columns = 0] = t.shape;
  const read = rowReader(t);
  const all = new Float32Array(rows * columns);
  for (let r = 0; r < rows; r++) read(r, all.subarray(r * columns, (r + 1) * columns));
  return all;
};

/** Σ of squared differences of outputs over all rows of x. */
function outputError(
  x: Float32Array,
  matrix: HostTensor,
  quantized: HostTensor,
  transposed: boolean,
): number {
  const [rows = 0, columns = 0] = matrix.shape;
  const [N, E] = transposed ? [rows, columns] : [columns, rows];
  const [before, after] = [numbers(matrix), numbers(quantized)];
  const difference = before.map((value, i) => value - after[i]);
  let error = 0;
  for (let t = 0; t * N < x.length; t++)
    for (let e = 0; e < E; e++) {
      let sum = 0;
      for (let n = 0; n < N; n++)
        sum += x[t * N + n] * difference[transposed ? n * E + e : e * N + n];
      error += sum * sum;
    }
  return error;
}

async function run(
  backend: Backend,
  hessian: Float32Array,
  matrix: HostTensor,
  type: QuantizedType,
  transposed: boolean,
): Promise<HostTensor> {
  const N = Math.sqrt(hessian.length);
  const tensor = backend.allocate('f32', [N, N], 'state');
  backend.write(tensor, hessian);
  return compensate(backend, matrix, type, transposed, await factorize(backend, tensor));
}

describe.each(opened.map((backend) => ({ name: backend.name, backend })))(
  '$name',
  ({ backend }) => {
    test('on correlated inputs outputs change less than by rounding', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 1, max: 1e6 }),
          fc.integer({ min: 40, max: 170 }),
          fc.integer({ min: 5, max: 70 }),
          fc.boolean(),
          fc.constantFrom(...modelTypes),
          async (seed, N, E, transposed, type) => {
            const x = activations(2 * N, N, seed);
            const matrix = new Inputs(seed + 1).numbers(transposed ? [N, E] : [E, N]);
            const found = await run(backend, gram(x, N), matrix, type, transposed);
            const compensated = outputError(x, matrix, found, transposed);
            const rounded = outputError(x, matrix, nearest(matrix, type), transposed);
            expect(compensated).toBeLessThan(0.8 * rounded);
          },
        ),
        { numRuns: 24, seed: 7 },
      );
    });

    test.each([true, false])(
      'smaller groups change outputs less, and a minimum does; transposed %s',
      async (transposed) => {
        const [N, E] = transposed ? [64, 256] : [256, 64];
        const x = activations(2 * N, N, 21);
        // Squares are all above zero: what a minimum is for.
        const matrix = new Inputs(22).numbers(transposed ? [N, E] : [E, N]);
        f32(matrix).forEach((value, i, all) => (all[i] = value ** 2));
        const hessian = gram(x, N);
        const errors: number[] = [];
        for (const type of ['int4', 'int4g64', 'int4g128'] as const)
          for (const chosen of [type, `${type}z`] as const)
            errors.push(
              outputError(
                x,
                matrix,
                await run(backend, hessian, matrix, chosen, transposed),
                transposed,
              ),
            );
        const [plain, affine] = [0, 1].map((odd) => errors.filter((_, i) => i % 2 === odd));
        for (const found of [plain, affine])
          expect(found).toEqual([...found].sort((a, b) => a - b));
        plain.forEach((error, i) => expect(affine[i]).toBeLessThan(0.5 * error));
      },
    );

    test.each([true, false])(
      'inputs that are independent need no correction; transposed %s',
      async (transposed) => {
        const [N, E] = [70, 45];
        const matrix = new Inputs(3).numbers(transposed ? [N, E] : [E, N]);
        const identity = Float32Array.from({ length: N * N }, (_, i) =>
          i % (N + 1) === 0 ? 1 : 0,
        );
        const found = numbers(await run(backend, identity, matrix, 'int8', transposed));
        const rounded = numbers(nearest(matrix, 'int8'));
        found.forEach((value, i) => expect(value).toBeCloseTo(rounded[i], 6));
      },
    );

    test('what is exact already stays as it is', async () => {
      const [N, E] = [64, 32];
      const matrix = nearest(new Inputs(4).numbers([N, E]), 'int8');
      const plain = hostTensor('f32', [N, E]);
      f32(plain).set(numbers(matrix));
      const x = activations(2 * N, N, 9);
      const found = numbers(await run(backend, gram(x, N), plain, 'int8', true));
      found.forEach((value, i) => expect(value).toBeCloseTo(f32(plain)[i], 3));
    });
  },
);

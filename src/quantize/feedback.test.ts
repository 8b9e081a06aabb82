import { expect, test } from 'vitest';
import type { Backend } from '../backend.ts';
import { reference } from '../backends/reference/index.ts';
import { Inputs } from '../ops/cases/inputs.ts';
import { f32 } from '../rows.ts';
import { factorize, type Feedback } from './feedback.ts';

/** XᵀX of inputs that move together, [N, N]. */
function correlated(N: number, seed: number): Float32Array {
  const random = new Inputs(seed);
  const rows = 2 * N;
  const x = f32(random.numbers([rows, N]));
  for (let t = 0; t < rows; t++) {
    const common = 2 * random.uniform() - 1;
    for (let i = 0; i < N; i++) x[t * N + i] = x[t * N + i] * (1 + (i % 7)) + 3 * common;
  }
  return Float32Array.from({ length: N * N }, (_, at) => {
    const [i, j] = [Math.floor(at / N), at % N];
    let sum = 0;
    for (let t = 0; t < rows; t++) sum += x[t * N + i] * x[t * N + j];
    return sum;
  });
}

/** A, and A D Aᵀ, from panels. */
async function multiply(backend: Backend, { blocks, pivots }: Feedback) {
  const N = pivots.length;
  const a = new Float64Array(N * N);
  for (const { first, width, panel } of blocks) {
    const values = new Float32Array((await backend.read([panel]))[0].buffer);
    for (let r = 0; r < N - first; r++)
      for (let c = 0; c < width; c++) a[(first + r) * N + first + c] = values[r * width + c];
  }
  const product = new Float64Array(N * N);
  for (let i = 0; i < N; i++)
    for (let j = 0; j < N; j++)
      for (let k = 0; k < N; k++) product[i * N + j] += a[i * N + k] * pivots[k] * a[j * N + k];
  return { a, product };
}

test.each([1, 33, 128, 150, 300])(
  'the factors of a Hessian of %i inputs multiply to it, damped',
  async (N) => {
    const backend = await reference.open({});
    const values = correlated(N, N);
    const hessian = backend.allocate('f32', [N, N], 'state');
    backend.write(hessian, values);
    const { a, product } = await multiply(backend, await factorize(backend, hessian));
    let mean = 0;
    for (let i = 0; i < N; i++) mean += values[i * N + i] / N;
    let worst = 0;
    for (let i = 0; i < N; i++)
      for (let j = 0; j < N; j++) {
        if (j >= i) expect(a[i * N + j]).toBe(i === j ? 1 : 0);
        const expected = values[i * N + j] + (i === j ? 0.01 * mean : 0);
        worst = Math.max(worst, Math.abs(product[i * N + j] - expected) / mean);
      }
    expect(worst).toBeLessThan(1e-4);
  },
);

test('inputs that are never active do not stop it', async () => {
  const backend = await reference.open({});
  const hessian = backend.allocate('f32', [40, 40], 'state');
  const { pivots } = await factorize(backend, hessian);
  expect([...pivots].every((pivot) => pivot === 1)).toBe(true);
});

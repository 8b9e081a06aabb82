import { expect, test } from 'vitest';
import type { Backend } from '../backend.ts';
import { reference } from '../backends/reference/index.ts';
import { Inputs } from '../ops/cases.ts';
import { f32 } from '../host.ts';
import { factors } from './feedback.ts';

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

/** A D Aᵀ for inputs in the order of quantization, from panels. */
async function product(backend: Backend, found: Awaited<ReturnType<typeof factors>>) {
  const { blocks, pivots } = found.feedback;
  const N = pivots.length;
  const a = new Float64Array(N * N);
  for (const { first, width, panel } of blocks) {
    const values = new Float32Array((await backend.read(panel)).buffer);
    const last = first + width - 1;
    for (let r = 0; r <= last; r++)
      for (let c = 0; c < width; c++) a[(last - r) * N + (last - c)] = values[r * width + c];
  }
  const whole = new Float64Array(N * N);
  for (let i = 0; i < N; i++)
    for (let j = 0; j < N; j++)
      for (let k = 0; k < N; k++) whole[i * N + j] += a[i * N + k] * pivots[k] * a[j * N + k];
  return { a, whole };
}

test.each([
  [1, false],
  [33, false],
  [128, true],
  [150, false],
  [300, true],
])('the factors of a Hessian [%i, %i] multiply to it, damped; transposed %s', async (N, sorted) => {
  const backend = await reference.open({});
  const values = correlated(N, N);
  const hessian = backend.allocate('f32', [N, N], 'state');
  backend.write(hessian, values);
  const found = await factors(backend, hessian, sorted);
  const { order } = found;
  let mean = 0;
  for (let i = 0; i < N; i++) mean += values[i * N + i] / N;
  const { a, whole } = await product(backend, found);
  for (let i = 0; i < N; i++) {
    expect(a[i * N + i]).toBe(1);
    for (let j = 0; j < N; j++) {
      if (j < i) expect(a[i * N + j]).toBe(0);
      const expected = values[order[i] * N + order[j]] + (i === j ? 0.01 * mean : 0);
      expect(Math.abs(whole[i * N + j] - expected) / mean).toBeLessThan(1e-4);
    }
    if (sorted && i)
      expect(values[order[i] * (N + 1)]).toBeLessThanOrEqual(values[order[i - 1] * (N + 1)]);
  }
  expect([...order].sort((x, y) => x - y)).toEqual(Array.from({ length: N }, (_, i) => i));
});

test('inputs that are never active do not stop it', async () => {
  const backend = await reference.open({});
  const hessian = backend.allocate('f32', [40, 40], 'state');
  const { feedback } = await factors(backend, hessian, true);
  expect([...feedback.pivots].every((pivot) => pivot === 1)).toBe(true);
});

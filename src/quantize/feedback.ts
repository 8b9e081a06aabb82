import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import { linearTransposed } from '../ops/linear-transposed.ts';
import { Recorder } from '../program.ts';
import { slice, type Tensor } from '../tensor.ts';

/**
 * Inputs of one block: quantized one after another before what they leave behind goes to all others. A
 * multiple of the group, so that a group lies in one block.
 */
export const blockInputs = 128;

/** Share of the Hessian's mean diagonal that is added to it, as in GPTQ. */
const damping = 0.01;

/**
 * A Hessian as H = A D Aᵀ with A unit lower triangular: how to make good, for each input, what
 * quantizing the ones after it has done to the outputs.
 *
 * With E = W - Q, one row an input, the squared error of the outputs is tr(Eᵀ H E) =
 * Σ_k D[k] ‖E[k] + Σ_{m>k} A[m, k] E[m]‖². So inputs are rounded from the last to the first, each as
 * W[k] + Σ_{m>k} A[m, k] E[m]. These are the numbers that GPTQ (arXiv 2210.17323) gets by updates with the
 * Cholesky factor of H⁻¹ (arXiv 2307.13304, theorem 6), without an inverse.
 */
export interface Feedback extends Disposable {
  /** Columns of A, in order. */
  readonly blocks: readonly Block[];
  /** D [N] */
  readonly pivots: Float64Array;
}

export interface Block {
  readonly first: number;
  readonly width: number;
  /** f32 [N - first, width]: columns `first` … of A, from row `first` on. */
  readonly panel: Tensor;
}

/**
 * Factorize a Hessian, f32 [N, N]: a Cholesky decomposition by blocks of columns. What earlier columns
 * explain is subtracted by the backend, the rest is done here.
 */
export async function factorize(backend: Backend, hessian: Tensor): Promise<Feedback> {
  const N = hessian.shape[0];
  const values = floats((await backend.read([hessian]))[0]);
  let mean = 0;
  for (let i = 0; i < N; i++) mean += values[i * N + i] / N;
  for (let share = damping; share <= 100; share *= 10) {
    const found = await attempt(backend, values, N, mean > 0 ? share * mean : 1);
    if (found) return found;
  }
  throw new EngineError('INTERNAL', `gptq: a Hessian [${N}, ${N}] has no factors, even if damped`);
}

/** Undefined where rounding has made a pivot vanish. */
async function attempt(
  backend: Backend,
  hessian: Float32Array,
  N: number,
  added: number,
): Promise<Feedback | undefined> {
  const pivots = new Float64Array(N);
  const blocks: Block[] = [];
  const release = (): void => blocks.forEach(({ panel }) => backend.free(panel));
  for (let first = 0; first < N; first += blockInputs) {
    const width = Math.min(blockInputs, N - first);
    const values = new Float32Array((N - first) * width);
    for (let r = 0; r < N - first; r++) {
      const at = (first + r) * N + first;
      values.set(hessian.subarray(at, at + width), r * width);
      if (r < width) values[r * width + r] += added;
    }
    const panel = backend.allocate('f32', [N - first, width], 'state');
    backend.write(panel, values);
    const rest = await subtract(backend, first, panel, blocks, pivots);
    blocks.push({ first, width, panel });
    if (!eliminate(rest, width, pivots.subarray(first, first + width))) {
      release();
      return undefined;
    }
    backend.write(panel, rest);
  }
  return { blocks, pivots, [Symbol.dispose]: release };
}

/** A panel of columns `start` … without what earlier columns explain. */
async function subtract(
  backend: Backend,
  start: number,
  panel: Tensor,
  earlier: readonly Block[],
  pivots: Float64Array,
): Promise<Float32Array> {
  const [rows = 0, width = 0] = panel.shape;
  if (earlier.length === 0) return floats((await backend.read([panel]))[0]);
  const g = new Recorder();
  const negatives: Tensor[] = [];
  let sum = panel;
  for (const { first, width: depth, panel: other } of earlier) {
    const own = floats((await backend.read([slice(other, start - first, width)]))[0]);
    const negative = new Float32Array(depth * width);
    for (let k = 0; k < depth; k++)
      for (let c = 0; c < width; c++)
        negative[k * width + c] = -own[c * depth + k] * pivots[first + k];
    const w = backend.allocate('f32', [depth, width], 'state');
    negatives.push(w);
    backend.write(w, negative);
    sum = linearTransposed(g, { x: slice(other, start - first, rows), w, add: sum });
  }
  g.keep(sum);
  const program = await backend.compile(g.finish());
  await backend.run(program);
  const rest = floats((await backend.read([sum], program))[0]);
  program.release();
  for (const tensor of negatives) backend.free(tensor);
  return rest;
}

/** Turn a panel into its columns of A, in place, and find their pivots; false where one vanishes. */
function eliminate(values: Float32Array, width: number, pivots: Float64Array): boolean {
  const scaled = new Float64Array(width * width); // D[k] · A[c, k] of the panel's own rows
  const row = new Float64Array(width);
  for (let r = 0; r * width < values.length; r++) {
    const columns = Math.min(r + 1, width);
    for (let c = 0; c < columns; c++) {
      let sum = values[r * width + c];
      for (let k = 0; k < c; k++) sum -= row[k] * scaled[c * width + k];
      if (r === c) {
        if (!(sum > 0)) return false;
        pivots[c] = sum;
        row[c] = 1;
      } else row[c] = sum / pivots[c];
      if (r < width) scaled[r * width + c] = row[c] * pivots[c];
    }
    for (let c = 0; c < width; c++) values[r * width + c] = c < columns ? row[c] : 0;
  }
  return true;
}

const floats = (bytes: Uint8Array<ArrayBuffer>): Float32Array => new Float32Array(bytes.buffer);

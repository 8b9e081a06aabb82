import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import { f32 } from '../host.ts';
import { linearTransposed } from '../ops/linear-transposed.ts';
import { Recorder } from '../program.ts';
import { slice, type Tensor } from '../tensor.ts';

/** Inputs that are quantized one after another before what they leave behind goes to all others. */
export const blockInputs = 128;

/** Share of the Hessian's mean diagonal that is added to it, as in GPTQ. */
const damping = 0.01;

/**
 * H = A D Aᵀ with A unit upper triangular: what quantizing one input leaves behind for those before it
 * has to be made good by it. H's rows and columns come in the order of quantization.
 *
 * GPTQ's updates by the Cholesky factor of H⁻¹ are the same numbers (arXiv 2307.13304, theorem 6): with
 * E = W - Q, the output error is tr(Eᵀ H E) = Σ_k D[k] ‖E[k] + Σ_{m<k} A[m, k] E[m]‖², so each input k is
 * rounded as W[k] + Σ_{m<k} A[m, k] E[m], and no inverse is needed.
 */
export interface Feedback extends Disposable {
  /** Of each block of inputs, in order: f32 [N - first, width], see `Block`. */
  readonly blocks: readonly Block[];
  /** D [N] */
  readonly pivots: Float64Array;
}

/** Columns `first` … of A; rows stand in reverse order of inputs, so its end is its beginning. */
export interface Block {
  readonly first: number;
  readonly width: number;
  /**
   * f32 [first + width, width]: row r is input `first + width - 1 - r`, column c likewise, so that
   * element [r, c] is A of those two inputs and rows from `width` on are the inputs before the block.
   */
  readonly panel: Tensor;
}

/**
 * Factorize a Hessian [N, N], of which row and column `order[k]` belong to the k-th input.
 *
 * It is a Cholesky decomposition from the last input to the first, a block of columns at a time: what
 * earlier columns explain is subtracted by the backend, the rest is done here.
 */
async function factorize(
  backend: Backend,
  hessian: Float32Array,
  order: Uint32Array,
): Promise<Feedback> {
  const N = order.length;
  let mean = 0;
  for (let i = 0; i < N; i++) mean += hessian[i * N + i] / N;
  for (let share = damping; share <= 100; share *= 10) {
    const found = await attempt(backend, hessian, order, mean > 0 ? share * mean : 1);
    if (found) return found;
  }
  throw new EngineError('INTERNAL', `gptq: a Hessian [${N}, ${N}] has no factors, even if damped`);
}

/** What it takes to quantize matrices of one layout that multiply one input. */
export interface Factors {
  readonly hessian: Tensor;
  /** Rows are inputs. */
  readonly transposed: boolean;
  /** Inputs as they are quantized. */
  readonly order: Uint32Array;
  readonly feedback: Feedback;
}

export async function factors(
  backend: Backend,
  hessian: Tensor,
  transposed: boolean,
): Promise<Factors> {
  const N = hessian.shape[0];
  const values = f32({ dtype: 'f32', shape: [N, N], bytes: await backend.read(hessian) });
  const order = Uint32Array.from({ length: N }, (_, i) => i);
  if (transposed) sortByEnergy(order, values);
  return { hessian, transposed, order, feedback: await factorize(backend, values, order) };
}

/** Largest first: inputs that matter most are rounded while others can still make it good. */
function sortByEnergy(inputs: Uint32Array, hessian: Float32Array): void {
  const N = inputs.length;
  inputs.sort((a, b) => hessian[b * N + b] - hessian[a * N + a]);
}

/** Undefined where rounding has made a pivot vanish. */
async function attempt(
  backend: Backend,
  hessian: Float32Array,
  order: Uint32Array,
  added: number,
): Promise<Feedback | undefined> {
  const N = order.length;
  const pivots = new Float64Array(N);
  const blocks: Block[] = [];
  const release = (): void => blocks.forEach(({ panel }) => backend.free(panel));
  const starts = Array.from({ length: Math.ceil(N / blockInputs) }, (_, b) => b * blockInputs);
  for (const first of starts.reverse()) {
    const width = Math.min(blockInputs, N - first);
    const rows = first + width;
    const values = new Float32Array(rows * width);
    for (let r = 0; r < rows; r++) {
      const row = order[rows - 1 - r] * N;
      for (let c = 0; c < width; c++) values[r * width + c] = hessian[row + order[rows - 1 - c]];
    }
    for (let c = 0; c < width; c++) values[c * width + c] += added;
    const panel = backend.allocate('f32', [rows, width], 'state');
    backend.write(panel, values);
    const rest = await subtract(backend, panel, blocks, pivots);
    blocks.push({ first, width, panel });
    const own = pivots.subarray(first, rows);
    const complete = eliminate(rest, width, own);
    own.reverse();
    if (!complete) {
      release();
      return undefined;
    }
    backend.write(panel, rest);
  }
  blocks.reverse();
  return { blocks, pivots, [Symbol.dispose]: release };
}

/** `panel` without what the columns of later inputs' blocks explain. */
async function subtract(
  backend: Backend,
  panel: Tensor,
  later: readonly Block[],
  pivots: Float64Array,
): Promise<Float32Array> {
  const [rows = 0, width = 0] = panel.shape;
  if (later.length === 0) return floats(await backend.read(panel));
  const g = new Recorder();
  const factors: Tensor[] = [];
  let sum = panel;
  for (const { first, width: depth, panel: other } of later) {
    const skipped = first + depth - rows;
    const x = slice(other, skipped, rows);
    const own = floats(await backend.read(slice(other, skipped, width)));
    const negative = new Float32Array(depth * width);
    for (let k = 0; k < depth; k++)
      for (let c = 0; c < width; c++)
        negative[k * width + c] = -own[c * depth + k] * pivots[first + depth - 1 - k];
    const w = backend.allocate('f32', [depth, width], 'state');
    factors.push(w);
    backend.write(w, negative);
    sum = linearTransposed(g, { x, w, add: sum });
  }
  g.keep(sum);
  const program = backend.compile(g.finish());
  await backend.run(program);
  const rest = floats(await backend.read(sum, program));
  program.release();
  for (const tensor of factors) backend.free(tensor);
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

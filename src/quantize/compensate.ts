import type { Backend } from '../backend.ts';
import { f16ToF32 } from '../float16.ts';
import { codeWriter, hostTensor, rowReader } from '../host.ts';
import type { HostTensor } from '../op.ts';
import { weightGradient } from '../ops/training.ts';
import { Recorder } from '../program.ts';
import { quantGroup, slice, type Tensor } from '../tensor.ts';
import type { Block, Feedback } from './feedback.ts';
import { bestStep, codeOf, type Codes } from './scale.ts';

/**
 * Quantize a matrix so that its outputs on the calibration text change little: GPTQ (arXiv 2210.17323).
 *
 * Inputs are rounded one after another, from the last to the first; each is first corrected by what
 * rounding the ones after it did to the outputs (feedback.ts).
 *
 * Our two layouts differ in what shares a scale. A plain matrix [outputs, inputs] is the paper's case:
 * 32 consecutive inputs of one output; the step is chosen when the last of them comes up, from their
 * values as corrected so far, each weighted by its pivot, which is what an error there will cost. A
 * transposed matrix [inputs, outputs] has one row an input: 32 consecutive outputs share a scale, which is
 * chosen when that input comes up, from its final values, all of equal weight.
 */
export async function compensate(
  backend: Backend,
  matrix: HostTensor,
  type: Codes,
  transposed: boolean,
  { blocks, pivots }: Feedback,
): Promise<HostTensor> {
  const { data, inputs, outputs } = inputRows(matrix, transposed);
  const choice = transposed
    ? new RowChoice(type, inputs, outputs)
    : new ColumnChoice(type, inputs, outputs, pivots);
  const errors = backend.allocate('f32', [inputs, outputs], 'state');
  const quantized = new Float64Array(outputs);
  for (const block of [...blocks].reverse()) {
    const { first, width } = block;
    const values = await corrections(backend, block, errors);
    for (let i = 0; i < values.length; i++) values[i] += data[first * outputs + i];
    const panel = new Float32Array((await backend.read(slice(block.panel, 0, width))).buffer);
    const left = new Float32Array(width * outputs);
    for (let k = width - 1; k >= 0; k--) {
      choice.quantize(first, k, values, quantized);
      const original = data.subarray((first + k) * outputs);
      const error = left.subarray(k * outputs, (k + 1) * outputs);
      for (let n = 0; n < outputs; n++) error[n] = original[n] - quantized[n];
      for (let j = 0; j < k; j++) {
        const share = panel[k * width + j];
        const into = values.subarray(j * outputs, (j + 1) * outputs);
        for (let n = 0; n < outputs; n++) into[n] += share * error[n];
      }
    }
    backend.write(slice(errors, first, width), left);
  }
  backend.free(errors);
  return pack(type, matrix.shape, choice);
}

/** What the errors of the inputs after a block ask of it, [width, outputs]. */
async function corrections(
  backend: Backend,
  { first, width, panel }: Block,
  errors: Tensor,
): Promise<Float64Array> {
  const [inputs = 0, outputs = 0] = errors.shape;
  const after = inputs - first - width;
  if (after === 0) return new Float64Array(width * outputs);
  const g = new Recorder();
  const { dw } = weightGradient(g, slice(panel, width, after), slice(errors, first + width, after));
  g.keep(dw);
  const program = backend.compile(g.finish());
  await backend.run(program);
  const values = new Float32Array((await backend.read(dw, program)).buffer);
  program.release();
  return Float64Array.from(values);
}

/** A matrix as f32, one row an input. */
function inputRows(
  matrix: HostTensor,
  transposed: boolean,
): { data: Float32Array; inputs: number; outputs: number } {
  const [rows = 0, columns = 0] = matrix.shape;
  const read = rowReader(matrix);
  const data = new Float32Array(rows * columns);
  const row = new Float32Array(columns);
  for (let r = 0; r < rows; r++) {
    read(r, row);
    if (transposed) data.set(row, r * columns);
    else for (let c = 0; c < columns; c++) data[c * rows + r] = row[c];
  }
  return transposed
    ? { data, inputs: rows, outputs: columns }
    : { data, inputs: columns, outputs: rows };
}

/** Chooses codes and scales, input by input. */
interface Choice {
  /** In rows of the matrix, one code an element and one scale, as f16 bits, a group. */
  readonly codes: Int8Array;
  readonly steps: Uint16Array;
  /**
   * Quantize input `first + k`, whose corrected values are row k of `values` [width, outputs]; what its
   * codes stand for goes to `into` [outputs].
   */
  quantize(first: number, k: number, values: Float64Array, into: Float64Array): void;
}

/** Rows are inputs: groups lie along the outputs. */
class RowChoice implements Choice {
  readonly codes: Int8Array;
  readonly steps: Uint16Array;
  readonly #type: Codes;
  readonly #outputs: number;
  readonly #groups: number;

  constructor(type: Codes, inputs: number, outputs: number) {
    this.#type = type;
    this.#outputs = outputs;
    this.#groups = Math.ceil(outputs / quantGroup);
    this.codes = new Int8Array(inputs * outputs);
    this.steps = new Uint16Array(inputs * this.#groups);
  }

  quantize(first: number, k: number, values: Float64Array, into: Float64Array): void {
    const outputs = this.#outputs;
    const row = values.subarray(k * outputs, (k + 1) * outputs);
    for (let group = 0; group < this.#groups; group++) {
      const start = group * quantGroup;
      const bits = bestStep(row.subarray(start, start + quantGroup), undefined, this.#type);
      this.steps[(first + k) * this.#groups + group] = bits;
      const step = f16ToF32[bits];
      for (let n = start; n < Math.min(start + quantGroup, outputs); n++) {
        const code = codeOf(row[n], step, this.#type);
        this.codes[(first + k) * outputs + n] = code;
        into[n] = code * step;
      }
    }
  }
}

/** Rows are outputs: groups lie along the inputs. */
class ColumnChoice implements Choice {
  readonly codes: Int8Array;
  readonly steps: Uint16Array;
  readonly #type: Codes;
  readonly #inputs: number;
  readonly #outputs: number;
  readonly #groups: number;
  readonly #pivots: Float64Array;

  constructor(type: Codes, inputs: number, outputs: number, pivots: Float64Array) {
    this.#type = type;
    this.#inputs = inputs;
    this.#outputs = outputs;
    this.#pivots = pivots;
    this.#groups = Math.ceil(inputs / quantGroup);
    this.codes = new Int8Array(inputs * outputs);
    this.steps = new Uint16Array(outputs * this.#groups);
  }

  quantize(first: number, k: number, values: Float64Array, into: Float64Array): void {
    const input = first + k;
    const group = Math.floor(input / quantGroup);
    const next = Math.min((group + 1) * quantGroup, this.#inputs);
    if (input === next - 1) this.#chooseSteps(group, first, next, values);
    for (let n = 0; n < this.#outputs; n++) {
      const step = f16ToF32[this.steps[n * this.#groups + group]];
      const code = codeOf(values[k * this.#outputs + n], step, this.#type);
      this.codes[n * this.#inputs + input] = code;
      into[n] = code * step;
    }
  }

  /** Of a group that ends before input `next`. */
  #chooseSteps(group: number, first: number, next: number, values: Float64Array): void {
    const start = group * quantGroup;
    const weights = this.#pivots.subarray(start, next);
    const own = new Float64Array(next - start);
    for (let n = 0; n < this.#outputs; n++) {
      for (let i = 0; i < own.length; i++) own[i] = values[(start - first + i) * this.#outputs + n];
      this.steps[n * this.#groups + group] = bestStep(own, weights, this.#type);
    }
  }
}

function pack(type: Codes, shape: readonly number[], { codes, steps }: Choice): HostTensor {
  const [rows = 0, columns = 0] = shape;
  const groups = Math.ceil(columns / quantGroup);
  const packed = hostTensor(type, shape);
  const write = codeWriter(packed);
  for (let row = 0; row < rows; row++)
    write(
      row,
      codes.subarray(row * columns, (row + 1) * columns),
      steps.subarray(row * groups, (row + 1) * groups),
    );
  return packed;
}

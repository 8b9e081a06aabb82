import type { Backend } from '../backend.ts';
import { f16ToF32 } from '../float16.ts';
import { codeWriter, hostTensor, rowReader } from '../host.ts';
import type { HostTensor } from '../op.ts';
import { weightGradient } from '../ops/training.ts';
import { Recorder } from '../program.ts';
import { quantGroup, slice, type Tensor } from '../tensor.ts';
import type { Block, Factors } from './feedback.ts';
import { bestStep, codeOf, type Codes } from './scale.ts';

/**
 * Quantize a matrix so that its outputs on the calibration text change little: GPTQ (arXiv 2210.17323).
 *
 * Inputs are rounded one after another, in the order the feedback was made for; each is first corrected
 * by what rounding the ones before it did to the outputs (feedback.ts).
 *
 * Our two layouts differ in what shares a scale. A plain matrix [outputs, inputs] is the paper's case:
 * 32 consecutive inputs of one output; the step is chosen when the first of them comes up, from their
 * values as corrected so far, each weighted by its pivot, which is what an error there will cost. The
 * order must then be that of the inputs. A transposed matrix [inputs, outputs] has one row an input: 32
 * consecutive outputs share a scale, which is chosen when that input comes up, from its final values, all
 * of equal weight. Any order will do.
 */
export async function compensate(
  backend: Backend,
  matrix: HostTensor,
  type: Codes,
  { transposed, order, feedback: { blocks, pivots } }: Factors,
): Promise<HostTensor> {
  const weights = inputRows(matrix, transposed);
  const { inputs, outputs } = weights;
  const choice = transposed
    ? new RowChoice(type, inputs, outputs)
    : new ColumnChoice(type, inputs, outputs, pivots);
  // W - Q, the last input of the order first, as panels have them.
  const errors = backend.allocate('f32', [inputs, outputs], 'state');
  for (const block of blocks) {
    const { first, width } = block;
    const values = await correct(backend, block, errors);
    const panel = new Float32Array((await backend.read(slice(block.panel, 0, width))).buffer);
    for (let k = 0; k < width; k++)
      for (let n = 0, from = order[first + k] * outputs; n < outputs; n++)
        values[k * outputs + n] += weights.data[from + n];

    const left = new Float32Array(width * outputs);
    const quantized = new Float64Array(outputs);
    for (let k = 0; k < width; k++) {
      const input = order[first + k];
      choice.quantize(input, values, k, quantized);
      const error = left.subarray((width - 1 - k) * outputs, (width - k) * outputs);
      for (let n = 0; n < outputs; n++) error[n] = weights.data[input * outputs + n] - quantized[n];
      for (let later = k + 1; later < width; later++) {
        const share = panel[(width - 1 - k) * width + (width - 1 - later)];
        const into = values.subarray(later * outputs, (later + 1) * outputs);
        for (let n = 0; n < outputs; n++) into[n] += share * error[n];
      }
    }
    backend.write(slice(errors, inputs - first - width, width), left);
  }
  backend.free(errors);
  return choice.finish(matrix.shape);
}

/** What the errors of the inputs before a block ask of it, [width, outputs] in order. */
async function correct(
  backend: Backend,
  { first, width, panel }: Block,
  errors: Tensor,
): Promise<Float64Array> {
  const [inputs = 0, outputs = 0] = errors.shape;
  const values = new Float64Array(width * outputs);
  if (first === 0) return values;
  const g = new Recorder();
  const before = slice(errors, inputs - first, first);
  const { dw } = weightGradient(g, slice(panel, width, first), before);
  g.keep(dw);
  const program = backend.compile(g.finish());
  await backend.run(program);
  const reversed = new Float32Array((await backend.read(dw, program)).buffer);
  program.release();
  for (let k = 0; k < width; k++)
    values.set(reversed.subarray((width - 1 - k) * outputs, (width - k) * outputs), k * outputs);
  return values;
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
  /**
   * Quantize the input whose corrected values are row `k` of `values` [width, outputs]; what its codes
   * stand for goes to `into` [outputs].
   */
  quantize(input: number, values: Float64Array, k: number, into: Float64Array): void;
  finish(shape: readonly number[]): HostTensor;
}

/** Rows are inputs: groups lie along the outputs. */
class RowChoice implements Choice {
  readonly #type: Codes;
  readonly #codes: Int8Array;
  readonly #steps: Uint16Array;
  readonly #outputs: number;
  readonly #groups: number;

  constructor(type: Codes, inputs: number, outputs: number) {
    this.#type = type;
    this.#outputs = outputs;
    this.#groups = Math.ceil(outputs / quantGroup);
    this.#codes = new Int8Array(inputs * outputs);
    this.#steps = new Uint16Array(inputs * this.#groups);
  }

  quantize(input: number, values: Float64Array, k: number, into: Float64Array): void {
    const outputs = this.#outputs;
    const row = values.subarray(k * outputs, (k + 1) * outputs);
    for (let group = 0; group < this.#groups; group++) {
      const first = group * quantGroup;
      const bits = bestStep(row.subarray(first, first + quantGroup), undefined, this.#type);
      this.#steps[input * this.#groups + group] = bits;
      const step = f16ToF32[bits];
      for (let n = first; n < Math.min(first + quantGroup, outputs); n++) {
        const code = codeOf(row[n], step, this.#type);
        this.#codes[input * outputs + n] = code;
        into[n] = code * step;
      }
    }
  }

  finish(shape: readonly number[]): HostTensor {
    return pack(this.#type, shape, this.#codes, this.#steps);
  }
}

/** Rows are outputs: groups lie along the inputs, which come in their own order. */
class ColumnChoice implements Choice {
  readonly #type: Codes;
  readonly #codes: Int8Array;
  readonly #steps: Uint16Array;
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
    this.#codes = new Int8Array(inputs * outputs);
    this.#steps = new Uint16Array(outputs * this.#groups);
  }

  quantize(input: number, values: Float64Array, k: number, into: Float64Array): void {
    if (input % quantGroup === 0) this.#chooseSteps(input, values, k);
    const outputs = this.#outputs;
    const group = Math.floor(input / quantGroup);
    for (let n = 0; n < outputs; n++) {
      const step = f16ToF32[this.#steps[n * this.#groups + group]];
      const code = codeOf(values[k * outputs + n], step, this.#type);
      this.#codes[n * this.#inputs + input] = code;
      into[n] = code * step;
    }
  }

  #chooseSteps(input: number, values: Float64Array, k: number): void {
    const count = Math.min(quantGroup, this.#inputs - input);
    const weights = this.#pivots.subarray(input, input + count);
    const own = new Float64Array(count);
    for (let n = 0; n < this.#outputs; n++) {
      for (let i = 0; i < count; i++) own[i] = values[(k + i) * this.#outputs + n];
      this.#steps[n * this.#groups + input / quantGroup] = bestStep(own, weights, this.#type);
    }
  }

  finish(shape: readonly number[]): HostTensor {
    return pack(this.#type, shape, this.#codes, this.#steps);
  }
}

function pack(
  type: Codes,
  shape: readonly number[],
  codes: Int8Array,
  steps: Uint16Array,
): HostTensor {
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

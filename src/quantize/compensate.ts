import type { Backend } from '../backend.ts';
import { f16ToF32 } from '../float16.ts';
import { codeWriter, hostTensor, rowReader } from '../rows.ts';
import type { HostTensor } from '../op.ts';
import { weightGradient } from '../ops/training.ts';
import { Recorder } from '../program.ts';
import { type Format, formatOf, type QuantizedType, slice, type Tensor } from '../tensor.ts';
import type { Block, Feedback } from './feedback.ts';
import { bestGrid, codeOf, type Grid } from './scale.ts';

/**
 * Quantize a matrix so that its outputs on the calibration text change little: GPTQ (arXiv 2210.17323).
 *
 * Inputs are rounded one after another, from the last to the first; each is first corrected by what
 * rounding the ones after it did to the outputs (feedback.ts).
 *
 * Our two layouts differ in what a group is. A plain matrix [outputs, inputs] is the paper's case: some
 * consecutive inputs of one output; their grid is chosen when the last of them comes up, from their
 * values as corrected so far, each weighted by its pivot, which is what an error there will cost. A
 * transposed matrix [inputs, outputs] has one row an input: a group is of consecutive outputs, and its
 * grid is chosen when that input comes up, from its final values, all of equal weight.
 */
export async function compensate(
  backend: Backend,
  matrix: HostTensor,
  type: QuantizedType,
  transposed: boolean,
  { blocks, pivots }: Feedback,
): Promise<HostTensor> {
  const { data, inputs, outputs } = inputRows(matrix, transposed);
  const format = formatOf(type);
  const choice = transposed
    ? new RowChoice(format, inputs, outputs)
    : new ColumnChoice(format, inputs, outputs, pivots);
  const errors = backend.allocate('f32', [inputs, outputs], 'state');
  const quantized = new Float64Array(outputs);
  for (const block of [...blocks].reverse()) {
    const { first, width } = block;
    const values = await corrections(backend, block, errors);
    for (let i = 0; i < values.length; i++) values[i] += data[first * outputs + i];
    const panel = new Float32Array((await backend.read([slice(block.panel, 0, width)]))[0].buffer);
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
  return pack(type, matrix.shape, choice.chosen);
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
  const program = await backend.compile(g.finish());
  await backend.run(program);
  const values = new Float32Array((await backend.read([dw], program))[0].buffer);
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

/** Grids of the groups of `rows` rows of `columns` elements, and the codes on them. */
class Chosen {
  /** One code an element. */
  readonly codes: Int8Array;
  /** f16 bits, one for each group. */
  readonly steps: Uint16Array;
  readonly minima: Uint16Array;
  readonly format: Format;
  readonly columns: number;
  readonly groups: number;

  constructor(format: Format, rows: number, columns: number) {
    this.format = format;
    this.columns = columns;
    this.groups = Math.ceil(columns / format.group);
    this.codes = new Int8Array(rows * columns);
    this.steps = new Uint16Array(rows * this.groups);
    this.minima = new Uint16Array(rows * this.groups);
  }

  setGrid(row: number, group: number, { step, minimum }: Grid): void {
    this.steps[row * this.groups + group] = step;
    this.minima[row * this.groups + group] = minimum;
  }

  /** Round one element, whose grid is known; returns what its code stands for. */
  round(row: number, column: number, group: number, value: number): number {
    const at = row * this.groups + group;
    const [step, minimum] = [f16ToF32[this.steps[at]], f16ToF32[this.minima[at]]];
    const code = codeOf(value, step, minimum, this.format);
    this.codes[row * this.columns + column] = code;
    return code * step + minimum;
  }
}

/** Chooses grids and codes, input by input. */
interface Choice {
  readonly chosen: Chosen;
  /**
   * Quantize input `first + k`, whose corrected values are row k of `values` [width, outputs]; what its
   * codes stand for goes to `into` [outputs].
   */
  quantize(first: number, k: number, values: Float64Array, into: Float64Array): void;
}

/** Rows are inputs: groups lie along the outputs. */
class RowChoice implements Choice {
  readonly chosen: Chosen;

  constructor(format: Format, inputs: number, outputs: number) {
    this.chosen = new Chosen(format, inputs, outputs);
  }

  quantize(first: number, k: number, values: Float64Array, into: Float64Array): void {
    const { format, columns: outputs, groups } = this.chosen;
    const row = values.subarray(k * outputs, (k + 1) * outputs);
    for (let group = 0; group < groups; group++) {
      const [start, end] = [group * format.group, (group + 1) * format.group];
      this.chosen.setGrid(first + k, group, bestGrid(row.subarray(start, end), undefined, format));
      for (let n = start; n < Math.min(end, outputs); n++)
        into[n] = this.chosen.round(first + k, n, group, row[n]);
    }
  }
}

/** Rows are outputs: groups lie along the inputs. */
class ColumnChoice implements Choice {
  readonly chosen: Chosen;
  readonly #outputs: number;
  readonly #pivots: Float64Array;

  constructor(format: Format, inputs: number, outputs: number, pivots: Float64Array) {
    this.chosen = new Chosen(format, outputs, inputs);
    this.#outputs = outputs;
    this.#pivots = pivots;
  }

  quantize(first: number, k: number, values: Float64Array, into: Float64Array): void {
    const { format, columns: inputs } = this.chosen;
    const input = first + k;
    const group = Math.floor(input / format.group);
    const next = Math.min((group + 1) * format.group, inputs);
    if (input === next - 1) this.#chooseGrids(group, first, next, values);
    for (let n = 0; n < this.#outputs; n++)
      into[n] = this.chosen.round(n, input, group, values[k * this.#outputs + n]);
  }

  /** Of a group that ends before input `next`. */
  #chooseGrids(group: number, first: number, next: number, values: Float64Array): void {
    const { format } = this.chosen;
    const start = group * format.group;
    const weights = this.#pivots.subarray(start, next);
    const own = new Float64Array(next - start);
    for (let n = 0; n < this.#outputs; n++) {
      for (let i = 0; i < own.length; i++) own[i] = values[(start - first + i) * this.#outputs + n];
      this.chosen.setGrid(n, group, bestGrid(own, weights, format));
    }
  }
}

function pack(
  type: QuantizedType,
  shape: readonly number[],
  { codes, steps, minima, columns, groups }: Chosen,
): HostTensor {
  const packed = hostTensor(type, shape);
  const write = codeWriter(packed);
  for (let row = 0; row < shape[0]; row++) {
    const [first, last] = [row * groups, (row + 1) * groups];
    write(
      row,
      codes.subarray(row * columns, (row + 1) * columns),
      steps.subarray(first, last),
      minima.subarray(first, last),
    );
  }
  return packed;
}

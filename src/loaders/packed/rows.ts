import { EngineError } from '../../errors.ts';
import { f32ToF16 } from '../../float16.ts';
import type { WeightSpec } from '../../model.ts';
import { codeWriter, hostTensor } from '../../rows.ts';
import { formatOf, type QuantizedType } from '../../tensor.ts';
import { convertRows, type FileType, type WeightType } from '../convert.ts';
import { chunkBytes } from '../weights.ts';
import {
  type Axis,
  groupsOf,
  middle,
  type PackedEntry,
  type PackedMatrix,
  type Plane,
  takesCodes,
} from './matrix.ts';

/**
 * Stream a packed matrix as `spec` has it, in a type of ours: code by code where its rows can, else from its
 * values. Scales and minima that are no f16 are rounded to it. Throws `BAD_CHECKPOINT`.
 */
export async function streamPacked(
  spec: WeightSpec,
  entry: PackedEntry,
  dtype: WeightType,
  take: (first: number, bytes: Uint8Array<ArrayBuffer>) => void,
): Promise<void> {
  const { packed } = entry;
  const where = `${entry.source.name}, ${entry.name}`;
  const [rows = 0, columns = 1] = spec.shape;
  const place = spec.part?.row ?? ((row: number) => row);
  const grid = await readGrid(packed, where);
  const read = codeReader(packed.codes, packed.bits, spec.byInputs ?? false);
  const chunkRows = Math.max(1, Math.floor(chunkBytes / (4 * columns)));
  for (let first = 0; first < rows; first += chunkRows) {
    const count = Math.min(chunkRows, rows - first);
    const places = Int32Array.from({ length: count }, (_, i) => place(first + i));
    const codes = await read(places);
    if (takesCodes(spec, packed, dtype)) take(first, keepCodes(codes, grid, places, dtype, where));
    else {
      const values = spec.byInputs
        ? valuesByInputs(codes, grid, places)
        : valuesByOutputs(codes, grid, places);
      take(first, convertRows(new Uint8Array(values.buffer), 'f32', dtype, columns, where));
    }
  }
}

/** What codes are measured by. */
interface Grid {
  readonly outputs: number;
  readonly inputs: number;
  readonly groups: number;
  /** [inputs] */
  readonly groupOf: Int32Array;
  /** [outputs, groups] */
  readonly scales: Float32Array;
  /** [outputs, groups] */
  readonly zeros: Uint8Array;
}

async function readGrid(packed: PackedMatrix, where: string): Promise<Grid> {
  const { outputs, inputs, group } = packed;
  return {
    ...{ outputs, inputs, groups: groupsOf(packed) },
    groupOf: packed.groupOf ?? Int32Array.from({ length: inputs }, (_, i) => Math.floor(i / group)),
    scales: await readScales(packed, where),
    zeros: await readZeros(packed, where),
  };
}

const scaleTypes: Readonly<Record<string, FileType>> = { F32: 'f32', F16: 'f16', BF16: 'bf16' };

async function readScales(packed: PackedMatrix, where: string): Promise<Float32Array> {
  const {
    outputs,
    scales: { entry, output, group },
  } = packed;
  const groups = groupsOf(packed);
  const { bytes } = entry;
  const stored = await entry.source.read(entry.offset, bytes);
  const wide = convertRows(stored, scaleTypes[entry.type], 'f32', 1, where);
  const values = new Float32Array(wide.buffer, wide.byteOffset, wide.byteLength / 4);
  const scales = new Float32Array(outputs * groups);
  for (let o = 0; o < outputs; o++)
    for (let g = 0; g < groups; g++) scales[o * groups + g] = values[o * output + g * group];
  const wrong = scales.findIndex((scale) => !Number.isFinite(scale));
  if (wrong < 0) return scales;
  throw failure(where)(
    `the scale of output ${Math.floor(wrong / groups)}, group ${wrong % groups} is ${scales[wrong]}`,
    'a finite number',
  );
}

async function readZeros(packed: PackedMatrix, where: string): Promise<Uint8Array> {
  const { outputs, bits, zeros: plane, symmetric } = packed;
  const groups = groupsOf(packed);
  const zero = middle(packed);
  if (!plane) return new Uint8Array(outputs * groups).fill(zero);
  const zeros = await codeReader(
    plane,
    bits,
    false,
  )(Int32Array.from({ length: outputs }, (_, o) => o));
  const at = (i: number): string => `output ${Math.floor(i / groups)}, group ${i % groups}`;
  const greatest = (1 << bits) - 1;
  for (let i = 0; i < zeros.length; i++) {
    if (zeros[i] > greatest)
      throw failure(where)(`the zero point of ${at(i)} has more than ${bits} bits`, `a code`);
    if (plane.plus && zeros[i] === greatest)
      throw failure(where)(
        `the zero point of ${at(i)} is stored as ${zeros[i]}, and one is to be added, which some readers wrap and others do not`,
        `at most ${greatest - 1}`,
      );
    zeros[i] += plane.plus;
    if (symmetric && zeros[i] !== zero)
      throw failure(where)(
        `the zero point of ${at(i)} is ${zeros[i]}`,
        `${zero}, as config.json says that all are symmetric`,
      );
  }
  return zeros;
}

/**
 * Reads codes: all of each of the given outputs (of the inputs, `byInputs`), one row each. Of a tensor whose rows
 * lie one after another, what they lie in is read; of others all, once.
 */
function codeReader(
  plane: Plane,
  bits: 4 | 8,
  byInputs: boolean,
): (rows: Int32Array) => Promise<Uint8Array> {
  const { entry, outputs, inputs } = plane;
  const [along, across] = byInputs ? [inputs, outputs] : [outputs, inputs];
  const columns = placesOf(
    across,
    bits,
    Int32Array.from({ length: across.count }, (_, i) => i),
  );
  const width = 1 + last(columns.words);
  const wordBytes = entry.type === 'I8' ? 1 : 4;
  let whole: Promise<Words> | undefined;
  return async (indices) => {
    const rows = placesOf(along, bits, indices);
    const [from, to] = rows.words.reduce(
      ([a, b], word) => [Math.min(a, word), Math.max(b, word)],
      [Infinity, 0],
    );
    const window = to + width - from;
    if (2 * window * wordBytes <= entry.bytes) {
      const words = await readWords(plane, from, window);
      return unpack(
        words,
        { ...rows, words: rows.words.map((word) => word - from) },
        columns,
        bits,
      );
    }
    whole ??= readWords(plane, 0, entry.bytes / wordBytes);
    return unpack(await whole, rows, columns, bits);
  };
}

type Words = Int32Array | Int8Array;

async function readWords(
  { entry: { type, offset, source }, added }: Plane,
  first: number,
  count: number,
): Promise<Words> {
  const bytes = type === 'I8' ? 1 : 4;
  const { buffer } = await source.read(offset + first * bytes, count * bytes);
  if (bytes === 1) return new Int8Array(buffer);
  const words = new Int32Array(buffer);
  if (added !== undefined) for (let i = 0; i < count; i++) words[i] += added;
  return words;
}

interface Places {
  readonly words: Int32Array;
  readonly shifts: Uint8Array;
}

function placesOf({ stride, order }: Axis, bits: number, indices: Int32Array): Places {
  const together = order?.length ?? 1;
  return {
    words: indices.map((i) => Math.floor(i / together) * stride),
    shifts: Uint8Array.from(indices, (i) => bits * (order?.[i % together] ?? 0)),
  };
}

const last = (values: Int32Array): number => values[values.length - 1];

/** Rows in tiles, so that the words of neighbours, which may lie in one line of memory, are read together. */
const tileRows = 16;

/** [rows, columns]; of bytes with a sign, raised by half the range of codes. */
function unpack(words: Words, rows: Places, columns: Places, bits: number): Uint8Array {
  const [height, width] = [rows.words.length, columns.words.length];
  const codes = new Uint8Array(height * width);
  const mask = (1 << bits) - 1;
  const bytes = words instanceof Int8Array;
  const raised = 1 << (bits - 1);
  for (let start = 0; start < height; start += tileRows) {
    const end = Math.min(start + tileRows, height);
    for (let c = 0; c < width; c++) {
      const [word, shift] = [columns.words[c], columns.shifts[c]];
      for (let r = start; r < end; r++) {
        const found = words[rows.words[r] + word];
        codes[r * width + c] = bytes ? found + raised : (found >>> (rows.shifts[r] + shift)) & mask;
      }
    }
  }
  return codes;
}

function valuesByOutputs(
  codes: Uint8Array,
  { inputs, groups, groupOf, scales, zeros }: Grid,
  places: Int32Array,
): Float32Array<ArrayBuffer> {
  const values = new Float32Array(codes.length);
  for (let row = 0; row < places.length; row++) {
    const grid = places[row] * groups;
    for (let i = 0; i < inputs; i++) {
      const at = grid + groupOf[i];
      values[row * inputs + i] = (codes[row * inputs + i] - zeros[at]) * scales[at];
    }
  }
  return values;
}

function valuesByInputs(
  codes: Uint8Array,
  { outputs, groups, groupOf, scales, zeros }: Grid,
  places: Int32Array,
): Float32Array<ArrayBuffer> {
  const values = new Float32Array(codes.length);
  for (let row = 0; row < places.length; row++)
    for (let o = 0, at = groupOf[places[row]]; o < outputs; o++, at += groups)
      values[row * outputs + o] = (codes[row * outputs + o] - zeros[at]) * scales[at];
  return values;
}

/** Rows of ours with the codes of the file, which share scales with at least as many. */
function keepCodes(
  codes: Uint8Array,
  { inputs, groups, groupOf, scales, zeros }: Grid,
  places: Int32Array,
  dtype: QuantizedType,
  where: string,
): Uint8Array<ArrayBuffer> {
  const { group, minima: affine } = formatOf(dtype);
  const into = hostTensor(dtype, [places.length, inputs]);
  const write = codeWriter(into);
  const count = Math.ceil(inputs / group);
  const [steps, minima] = [new Uint16Array(count), new Uint16Array(count)];
  const chosen = new Int8Array(inputs);
  let largest = 0;
  for (let row = 0; row < places.length; row++) {
    for (let g = 0; g < count; g++) {
      const at = places[row] * groups + groupOf[g * group];
      const zero = zeros[at];
      steps[g] = f32ToF16(scales[at]);
      if (affine) minima[g] = f32ToF16(-zero * scales[at]);
      largest = Math.max(largest, steps[g] & 0x7fff, minima[g] & 0x7fff);
      const less = affine ? 0 : zero;
      for (let i = g * group; i < Math.min((g + 1) * group, inputs); i++)
        chosen[i] = codes[row * inputs + i] - less;
    }
    write(row, chosen, steps, minima);
  }
  if (largest >= 0x7c00)
    throw new EngineError(
      'BAD_CHECKPOINT',
      `${where}: holds a scale that is not finite as f16; expected at most 65504; use \`weights\` f32`,
    );
  return into.bytes as Uint8Array<ArrayBuffer>;
}

const failure =
  (where: string) =>
  (found: string, expected: string): EngineError =>
    new EngineError(
      'BAD_CHECKPOINT',
      `${where}: ${found}; expected ${expected}; fetch the model again, or choose another`,
    );

import { type FileHandle, open, rm } from 'node:fs/promises';
import { EngineError } from '../errors.ts';
import { f16ToF32, f32ToF16 } from '../float16.ts';
import type { Observation } from './observe.ts';

/** Tokens stored together, and read together when examples are drawn at random. */
export const blockRows = 16;

export interface ExampleShape {
  /** E */
  readonly inputs: number;
  /** F */
  readonly neurons: number;
  /** H of the next block; 0 for the last block. */
  readonly heads: number;
}

/** `rows` examples, row-major. */
export interface Examples {
  readonly rows: number;
  /** [rows, E] */
  readonly x: Float32Array;
  /** [rows, F] contributions */
  readonly neurons: Float32Array;
  /** [rows, H] contributions */
  readonly heads: Float32Array;
}

/**
 * One layer's training examples on disk, in blocks of 16 consecutive tokens: inputs as f16, a bit a
 * neuron for "active", and one byte of log-scaled contribution for each active neuron. That is a
 * fourth of what plain arrays take; contributions are only weights, so 4 % steps do no harm.
 *
 * The file is scratch of one training run: it is never resumed from, and removed at the end.
 */
export class ExampleFile implements AsyncDisposable {
  readonly shape: ExampleShape;
  readonly #path: string;
  readonly #file: FileHandle;
  /** Where each block begins, and where the last one ends. */
  readonly #offsets: number[] = [0];

  private constructor(path: string, file: FileHandle, shape: ExampleShape) {
    this.#path = path;
    this.#file = file;
    this.shape = shape;
  }

  static async create(path: string, shape: ExampleShape): Promise<ExampleFile> {
    try {
      return new ExampleFile(path, await open(path, 'w+'), shape);
    } catch (cause) {
      throw new EngineError(
        'FILE_NOT_FOUND',
        `${path}: cannot be written; choose another \`output\``,
        {
          cause,
        },
      );
    }
  }

  get blocks(): number {
    return this.#offsets.length - 1;
  }

  get bytes(): number {
    return this.#offsets[this.blocks];
  }

  /** Add what was observed; the number of rows is a multiple of the block's. */
  async append({ x, neurons, nextHeads }: Observation): Promise<void> {
    const { inputs, neurons: F, heads } = this.shape;
    const blocks: Uint8Array[] = [];
    for (let row = 0; row * inputs < x.length; row += blockRows) {
      const part = (data: Float32Array, width: number): Float32Array =>
        data.subarray(row * width, (row + blockRows) * width);
      const block = encode(part(x, inputs), part(neurons, F), nextHeads && part(nextHeads, heads));
      blocks.push(block);
      this.#offsets.push(this.bytes + block.length);
    }
    await this.#file.write(Buffer.concat(blocks));
  }

  /** The blocks of these numbers, one after another. */
  async read(blocks: readonly number[]): Promise<Examples> {
    const { inputs, neurons, heads } = this.shape;
    const rows = blocks.length * blockRows;
    const examples: Examples = {
      rows,
      x: new Float32Array(rows * inputs),
      neurons: new Float32Array(rows * neurons),
      heads: new Float32Array(rows * heads),
    };
    await Promise.all(
      blocks.map(async (block, i) => {
        const length = this.#offsets[block + 1] - this.#offsets[block];
        const bytes = new Uint8Array(length);
        await this.#file.read(bytes, 0, length, this.#offsets[block]);
        const part = (data: Float32Array, width: number): Float32Array =>
          data.subarray(i * blockRows * width, (i + 1) * blockRows * width);
        decode(
          bytes,
          part(examples.x, inputs),
          part(examples.neurons, neurons),
          part(examples.heads, heads),
        );
      }),
    );
    return examples;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
    await rm(this.#path, { force: true });
  }
}

/** Contributions on a log scale: 0 for none, else 16 steps an octave from 2^-12 up. */
const stepsPerOctave = 16;
const lowestOctave = -12;
const levels = Float32Array.from({ length: 256 }, (_, code) =>
  code === 0 ? 0 : 2 ** (lowestOctave + (code - 1) / stepsPerOctave),
);
const levelOf = (value: number): number =>
  Math.max(1, Math.min(255, 1 + Math.round((Math.log2(value) - lowestOctave) * stepsPerOctave)));

function encode(
  x: Float32Array,
  neurons: Float32Array,
  heads: Float32Array | undefined,
): Uint8Array {
  const numbers = new Uint16Array(x.length + (heads?.length ?? 0));
  x.forEach((value, i) => (numbers[i] = f32ToF16(value)));
  heads?.forEach((value, i) => (numbers[x.length + i] = f32ToF16(value)));
  const bits = new Uint8Array(Math.ceil(neurons.length / 8));
  const codes = new Uint8Array(neurons.length);
  let active = 0;
  for (let i = 0; i < neurons.length; i++)
    if (neurons[i] > 0) {
      bits[i >> 3] |= 1 << (i & 7);
      codes[active++] = levelOf(neurons[i]);
    }
  return Buffer.concat([new Uint8Array(numbers.buffer), bits, codes.subarray(0, active)]);
}

function decode(
  bytes: Uint8Array,
  x: Float32Array,
  neurons: Float32Array,
  heads: Float32Array,
): void {
  const numbers = new Uint16Array(bytes.buffer, bytes.byteOffset, x.length + heads.length);
  for (let i = 0; i < x.length; i++) x[i] = f16ToF32[numbers[i]];
  for (let i = 0; i < heads.length; i++) heads[i] = f16ToF32[numbers[x.length + i]];
  const bits = numbers.byteLength;
  let code = bits + Math.ceil(neurons.length / 8);
  for (let first = 0; first < neurons.length; first += 8)
    // Most bytes are 0: few neurons are active.
    for (let byte = bytes[bits + (first >> 3)], i = first; byte; byte >>= 1, i++)
      if (byte & 1) neurons[i] = levels[bytes[code++]];
}

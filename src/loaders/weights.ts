import type { Backend, FileMatrix } from '../backend.ts';
import { EngineError } from '../errors.ts';
import { rowReader } from '../rows.ts';
import type { Weights, WeightSpec } from '../model.ts';
import type { HostTensor } from '../op.ts';
import { byteLength, slice, type Tensor } from '../tensor.ts';
import type { WeightType } from './convert.ts';

export type Constants = Readonly<Record<string, Float32Array>>;

/** Bytes of a file that are in memory at once, but for transposed tensors, which are there whole. */
export const chunkBytes = 8 * 2 ** 20;

/** Bytes of weights in memory when matrices are of type `dtype`. */
export function plannedBytes(specs: Iterable<WeightSpec>, dtype: WeightType): number {
  let bytes = 0;
  for (const spec of specs) bytes += byteLength(storedType(spec, dtype), spec.shape);
  return bytes;
}

const storedType = (spec: WeightSpec, dtype: WeightType): WeightType =>
  spec.kind === 'matrix' ? dtype : 'f32';

/** Throws `OUT_OF_MEMORY` when `bytes` of weights exceed the limit; nothing is allocated before. */
export function expectFit(where: string, bytes: number, limit: number | undefined): void {
  if (limit !== undefined && bytes > limit)
    throw new EngineError(
      'OUT_OF_MEMORY',
      `${where}: its weights take ${bytes} bytes; expected at most ${limit}; choose smaller weights (\`weights\` int8) or a machine with more memory`,
    );
}

/** Weights in a backend's memory, filled row by row. Owns its tensors. */
export class StoredWeights implements Weights {
  readonly #backend: Backend;
  readonly #dtype: WeightType;
  readonly #declared: ReadonlySet<string>;
  readonly #tensors = new Map<string, Tensor>();
  /** Sums of squares of the rows whose norms may be asked for. */
  readonly #squares = new Map<string, Float64Array>();
  readonly #norms = new Map<string, Tensor>();

  /** `declared`: names of weights that the family may ask for, those of `constants` aside. */
  constructor(
    backend: Backend,
    dtype: WeightType,
    declared: Iterable<string>,
    constants: Constants,
  ) {
    this.#backend = backend;
    this.#declared = new Set([...declared, ...Object.keys(constants)]);
    this.#dtype = dtype;
    for (const [name, values] of Object.entries(constants)) {
      const tensor = backend.allocate('f32', [values.length], 'state');
      this.#tensors.set(name, tensor);
      backend.write(tensor, values);
    }
  }

  /** Allocate one weight. */
  add(name: string, spec: WeightSpec, dtype = this.#dtype): Tensor {
    const tensor = this.#backend.allocate(storedType(spec, dtype), spec.shape, 'weights');
    this.#tensors.set(name, tensor);
    if (spec.byInputs) this.#squares.set(name, new Float64Array(spec.shape[0]));
    return tensor;
  }

  /** Let a weight lie in a file, with all `rowSquares` of it; false where the backend cannot. */
  map(
    name: string,
    spec: WeightSpec,
    dtype: WeightType,
    { path, offset }: { path: string; offset: number },
    squares: Float64Array | undefined,
  ): boolean {
    const tensor = this.#backend.map?.(path, offset, dtype, spec.shape, 'weights');
    if (!tensor) return false;
    this.#tensors.set(name, tensor);
    if (squares) this.#squares.set(name, squares);
    return true;
  }

  /** Let the backend read and convert a matrix that was added; false where it cannot: nothing is known of its rows then. */
  async convert(name: string, matrix: FileMatrix | undefined): Promise<boolean> {
    const own = this.#squares.get(name);
    if (!matrix || !this.#backend.convert) return false;
    const squares = await this.#backend.convert(this.get(name), matrix, own !== undefined);
    if (squares) own?.set(squares);
    return squares !== undefined;
  }

  /** Write a whole vector. */
  writeVector(name: string, values: Float32Array): void {
    this.#backend.write(this.get(name), values);
  }

  /** Write rows of a matrix from `first` on, in its type; `rowSquares` of them, where known. */
  writeRows(name: string, first: number, bytes: Uint8Array, known?: Float64Array): void {
    const tensor = this.get(name);
    const columns = tensor.shape[1];
    const count = bytes.byteLength / byteLength(tensor.dtype, [1, columns]);
    this.#backend.write(slice(tensor, first, count), bytes);
    this.#squares
      .get(name)
      ?.set(known ?? rowSquares({ dtype: tensor.dtype, shape: [count, columns], bytes }), first);
  }

  get(name: string): Tensor {
    const tensor = this.find(name);
    if (!tensor)
      throw new EngineError(
        'INTERNAL',
        `there is no weight ${name}: it was declared optional, and the checkpoint has none; expected \`find\` to ask for it`,
      );
    return tensor;
  }

  find(name: string): Tensor | undefined {
    if (!this.#declared.has(name))
      throw new EngineError(
        'INTERNAL',
        `the family declares no weight ${name}; expected a name of its \`weights\` or \`constants\``,
      );
    return this.#tensors.get(name);
  }

  byInputs(name: string): boolean {
    return this.#squares.has(name);
  }

  rowNorms(name: string, block: number): Tensor {
    const key = `${name}/${block}`;
    const made = this.#norms.get(key);
    if (made) return made;
    const squares = this.#squares.get(name);
    if (!squares)
      throw new EngineError('INTERNAL', `${name} lies by outputs: it has no norms of inputs`);
    const norms = new Float32Array(squares.length / block);
    for (let i = 0; i < norms.length; i++) {
      let sum = 0;
      for (let j = 0; j < block; j++) sum += squares[i * block + j];
      norms[i] = Math.sqrt(sum / block);
    }
    const tensor = this.#backend.allocate('f32', [norms.length], 'state');
    this.#norms.set(key, tensor);
    this.#backend.write(tensor, norms);
    return tensor;
  }

  release(): void {
    for (const tensor of [...this.#tensors.values(), ...this.#norms.values()])
      this.#backend.free(tensor);
    this.#tensors.clear();
    this.#norms.clear();
  }
}

/** Sum of squares of each row. */
export function rowSquares(rows: HostTensor): Float64Array {
  const [count = 0, columns = 0] = rows.shape;
  const read = rowReader(rows);
  const values = new Float32Array(columns);
  return Float64Array.from({ length: count }, (_, row) => {
    read(row, values);
    let sum = 0;
    for (let i = 0; i < columns; i++) sum += values[i] * values[i];
    return sum;
  });
}

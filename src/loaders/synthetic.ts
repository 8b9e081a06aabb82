import type { Backend } from '../backend.ts';
import { hostTensor, rowWriter } from '../rows.ts';
import type { Description, WeightSpec } from '../model.ts';
import { familyOf } from '../models/index.ts';
import { mulberry32 } from '../random.ts';
import type { Matrix } from '../selector.ts';
import { rowBytes } from '../tensor.ts';
import { type Checkpoint, checkpointOf } from './checkpoint.ts';
import type { WeightType } from './convert.ts';
import { laidByInputs } from './layout.ts';
import { expectFit, plannedBytes, rowSquares, StoredWeights } from './weights.ts';

export interface SyntheticOptions {
  /** Type of matrices in memory. */
  readonly dtype: WeightType;
  /** Default 0. */
  readonly seed?: number;
  /** Matrices to lay out one row an input. Default: none beside those that always are. */
  readonly byInputs?: readonly Matrix[] | undefined;
  /** Refuse a model whose weights take more. Default: no limit. */
  readonly memoryLimit?: number | undefined;
  /** Called before anything is allocated; what it throws ends the making. */
  readonly expect?: (description: Description, weightBytes: number) => void;
}

/**
 * A model of a given shape with random weights, from a config.json alone: for measuring speed without
 * files. Matrices have variance 1 / inputs, gains are 1, biases 0, so that activations stay finite.
 *
 * Random rows are made once for each width and used again, from another row on, for each matrix: a
 * model of 1.3 B parameters takes as long as copying it, and rows repeat.
 */
export function syntheticCheckpoint(
  json: unknown,
  backend: Backend,
  { dtype, seed = 0, byInputs = [], memoryLimit, expect }: SyntheticOptions,
): Checkpoint {
  const family = familyOf(json, 'synthetic model');
  const config = family.config(json);
  const declared = family.weights(config);
  const laid = Object.fromEntries(laidByInputs(declared, byInputs));
  const specs = Object.entries({ ...declared, ...laid }).filter(([, spec]) => !spec.optional);
  const weightBytes = plannedBytes(
    specs.map(([, spec]) => spec),
    dtype,
  );
  expectFit('synthetic model', weightBytes, memoryLimit);
  expect?.(family.describe(config), weightBytes);

  const uniform = mulberry32(seed);
  const blocks = new Map<string, Block>();
  const weights = new StoredWeights(
    backend,
    dtype,
    Object.keys(family.weights(config)),
    family.constants(config),
  );
  try {
    for (const [name, spec] of specs) {
      weights.add(name, spec);
      if (spec.kind === 'vector')
        weights.writeVector(
          name,
          new Float32Array(spec.shape[0]).fill(name.endsWith('.bias') ? 0 : 1),
        );
      else fill(weights, name, spec, dtype, blocks, uniform);
    }
  } catch (error) {
    weights.release();
    throw error;
  }
  return checkpointOf(family, config, weights, weightBytes, dtype);
}

/** Random rows, encoded, and their sums of squares. */
interface Block {
  readonly bytes: Uint8Array;
  readonly squares: Float64Array;
}

/** Elements made for each width. */
const blockElements = 2 ** 21;

function fill(
  weights: StoredWeights,
  name: string,
  { shape: [rows = 0, columns = 0], transposed }: WeightSpec,
  dtype: WeightType,
  blocks: Map<string, Block>,
  uniform: () => number,
): void {
  const inputs = transposed ? rows : columns;
  const key = `${columns} ${inputs}`;
  const block = blocks.get(key) ?? randomRows(dtype, columns, inputs, uniform);
  blocks.set(key, block);
  const stride = rowBytes(dtype, columns);
  const made = block.squares.length;
  let from = Math.floor(uniform() * made);
  for (let first = 0; first < rows;) {
    const count = Math.min(made - from, rows - first);
    const bytes = block.bytes.subarray(from * stride, (from + count) * stride);
    weights.writeRows(name, first, bytes, block.squares.subarray(from, from + count));
    first += count;
    from = 0;
  }
}

function randomRows(
  dtype: WeightType,
  columns: number,
  inputs: number,
  uniform: () => number,
): Block {
  const rows = hostTensor(dtype, [Math.ceil(blockElements / columns), columns]);
  const write = rowWriter(rows);
  const largest = Math.sqrt(3 / inputs);
  const values = new Float32Array(columns);
  for (let row = 0; row < rows.shape[0]; row++) {
    for (let i = 0; i < columns; i++) values[i] = (2 * uniform() - 1) * largest;
    write(row, values);
  }
  return { bytes: rows.bytes, squares: rowSquares(rows) };
}

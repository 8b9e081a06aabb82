import { matrixOf, type WeightSpec } from '../model.ts';
import type { Matrix } from '../selector.ts';
import { convertRows, type WeightType } from './convert.ts';
import type { TakeRows } from './stream.ts';
import { chunkBytes, type StoredWeights } from './weights.ts';

/** The weights that `byInputs` turns, as the engine stores them: one row an input. */
export function laidByInputs(
  specs: Readonly<Record<string, WeightSpec>>,
  byInputs: readonly Matrix[],
): Map<string, WeightSpec> {
  const laid = new Map<string, WeightSpec>();
  for (const [name, spec] of Object.entries(specs)) {
    const matrix = matrixOf(name);
    if (!matrix || spec.byInputs || !byInputs.includes(matrix)) continue;
    const { kind, shape, from, transposed = false } = spec;
    laid.set(name, {
      ...{ kind, from, byInputs: true, transposed: !transposed },
      shape: [...shape].reverse(),
    });
  }
  return laid;
}

/**
 * Load a matrix one row an input, from what streams its rows by outputs as f32. It is in memory whole, as
 * f32, while it is turned.
 */
export async function loadByInputs(
  weights: StoredWeights,
  name: string,
  spec: WeightSpec,
  dtype: WeightType,
  stream: (take: TakeRows) => Promise<void>,
): Promise<void> {
  const [inputs = 0, outputs = 0] = spec.shape;
  const turned = new Float32Array(inputs * outputs);
  await stream((first, bytes) => {
    const rows = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    const count = rows.length / inputs;
    for (let i = 0; i < inputs; i++)
      for (let row = 0; row < count; row++)
        turned[i * outputs + first + row] = rows[row * inputs + i];
  });
  weights.add(name, spec, dtype);
  const chunkRows = Math.max(1, Math.floor(chunkBytes / (4 * outputs)));
  for (let first = 0; first < inputs; first += chunkRows) {
    const rows = turned.subarray(first * outputs, (first + chunkRows) * outputs);
    const bytes = new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength);
    weights.writeRows(name, first, convertRows(bytes, 'f32', dtype, outputs, name));
  }
}

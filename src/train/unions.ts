import { Batch } from '../engine/batch.ts';
import type { Engine } from '../engine/engine.ts';
import { full } from '../kv/full.ts';
import type { PredictorFile, OperatingPoint, Union } from '../predictor.ts';
import { methodAt } from './assemble.ts';

/** Numbers of texts decoded together. */
const buckets = [2, 4, 8, 16];
const most = 16;

/** Tokens of each text: those before, and those decoded. */
const before = 32;
const decoded = 8;

/** Decode steps that one point takes. */
export const unionSteps = decoded * buckets.reduce((sum, rows) => sum + most / rows, 0);

/**
 * Shares of neurons that several texts together select at a point, as they are served: texts from all over
 * `ids`, in groups of each size.
 */
export async function measureUnions(
  { backend, checkpoint, description, context }: Engine,
  file: PredictorFile,
  point: OperatingPoint,
  ids: Int32Array,
  onStep: () => void,
): Promise<Union[]> {
  const length = Math.min(before + decoded, ids.length, context);
  const steps = Math.min(decoded, length - 1);
  const texts = Array.from({ length: most }, (_, text) => {
    const start = Math.floor((text * (ids.length - length)) / (most - 1));
    return ids.subarray(start, start + length);
  });
  using method = methodAt({ backend, description }, file, point);
  using batch = new Batch(backend, checkpoint, {
    method,
    policy: full,
    capacity: length,
    sequences: most,
  });
  for (const text of texts) await batch.prefill(batch.admit(), text.subarray(0, -steps));
  const unions: Union[] = [];
  for (const rows of buckets) {
    const neurons = new Float64Array(description.layers);
    for (let first = 0; first < most; first += rows) {
      const group = Array.from({ length: rows }, (_, i) => first + i);
      for (const text of group) batch.truncate(text, length - steps);
      for (let at = length - steps; at < length; at++) {
        onStep();
        await batch.decode(
          group,
          group.map((text) => texts[text][at]),
        );
        const usage = await batch.usage();
        usage.chosen.neurons.forEach((share, layer) => (neurons[layer] += share));
      }
    }
    const measured = (most / rows) * steps;
    unions.push({ rows, neurons: Array.from(neurons, (sum) => sum / measured) });
  }
  return unions;
}

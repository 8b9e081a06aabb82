import type { Backend } from '../backend.ts';
import type { Model } from '../engine/step.ts';
import { hostTensor, rowReader, rowWriter } from '../rows.ts';
import type { HostTensor } from '../op.ts';
import type { QuantizedType, Tensor } from '../tensor.ts';
import { compensate } from './compensate.ts';
import { factorize, type Feedback } from './feedback.ts';
import { Hessians } from './hessians.ts';
import type { Calibration } from './text.ts';
import type { Use } from './uses.ts';

/** A way of choosing codes and scales. */
export interface Rounding {
  readonly name: string;
  /** It looks at what matrices multiply, over a text. */
  readonly calibrates: boolean;
  begin(context: RoundingContext): Encoder;
}

export interface RoundingContext {
  readonly backend: Backend;
  readonly model: Model;
  /** Matrices used for products inside the model, in the order they will come in. */
  readonly inner: readonly string[];
  /** There where the rounding calibrates. */
  readonly calibration: Calibration | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Quantizes one matrix after another. */
export interface Encoder extends Disposable {
  encode(
    name: string,
    matrix: HostTensor,
    type: QuantizedType,
    use: Use | undefined,
  ): Promise<HostTensor>;
}

/** Every element to the nearest code; a group's codes reach its furthest (`rowWriter`). */
const rtn: Rounding = {
  name: 'rtn',
  calibrates: false,
  begin: () => ({
    encode: (_name, matrix, type) => Promise.resolve(nearest(matrix, type)),
    [Symbol.dispose]: () => undefined,
  }),
};

export function nearest(matrix: HostTensor, type: QuantizedType): HostTensor {
  const [rows = 0, columns = 0] = matrix.shape;
  const encoded = hostTensor(type, matrix.shape);
  const [read, write] = [rowReader(matrix), rowWriter(encoded)];
  const values = new Float32Array(columns);
  for (let row = 0; row < rows; row++) {
    read(row, values);
    write(row, values);
  }
  return encoded;
}

/** GPTQ (compensate.ts) for products inside the model; tables and the head to the nearest. */
const gptq: Rounding = {
  name: 'gptq',
  calibrates: true,
  begin({ backend, model, inner, calibration, signal }) {
    const hessians = new Hessians(backend, model, inner, calibration!, signal);
    /** q, k and v have one input, gate and up too. */
    let latest: { hessian: Tensor; feedback: Feedback } | undefined;
    return {
      async encode(name, matrix, type, use) {
        if (use?.kind !== 'inner') return nearest(matrix, type);
        const hessian = await hessians.of(name);
        if (latest?.hessian !== hessian) {
          latest?.feedback[Symbol.dispose]();
          latest = undefined;
          latest = { hessian, feedback: await factorize(backend, hessian) };
        }
        return compensate(backend, matrix, type, use.transposed, latest.feedback);
      },
      [Symbol.dispose]() {
        latest?.feedback[Symbol.dispose]();
        hessians[Symbol.dispose]();
      },
    };
  },
};

/** Every rounding, by name. */
export const roundings: readonly Rounding[] = [rtn, gptq];

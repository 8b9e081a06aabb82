import type { Backend } from '../backend.ts';
import { f32, hostTensor, rowReader, rowWriter } from '../host.ts';
import type { HostTensor } from '../op.ts';
import type { Tensor } from '../tensor.ts';
import { factorize, type Feedback } from './feedback.ts';
import { gptq } from './gptq.ts';
import type { Hessians } from './hessians.ts';
import type { Codes } from './scale.ts';
import type { Use } from './uses.ts';

/** Quantizes one matrix after another. */
export interface Encoder extends Disposable {
  /** `use`: what it multiplies; undefined where there is nothing to calibrate on, as for tables. */
  encode(name: string, matrix: HostTensor, type: Codes, use: Use | undefined): Promise<HostTensor>;
}

/** Every element to the nearest code; a group's scale reaches its largest (`rowWriter`). */
export const nearest: Encoder = {
  encode(_name, matrix, type) {
    const [rows = 0, columns = 0] = matrix.shape;
    const encoded = hostTensor(type, matrix.shape);
    const [read, write] = [rowReader(matrix), rowWriter(encoded)];
    const values = new Float32Array(columns);
    for (let row = 0; row < rows; row++) {
      read(row, values);
      write(row, values);
    }
    return Promise.resolve(encoded);
  },
  [Symbol.dispose]: () => undefined,
};

/** GPTQ where there is a Hessian, else to the nearest. */
export function calibrated(backend: Backend, hessians: Hessians): Encoder {
  /** Of the latest Hessian; q, k and v have one, gate and up too. */
  let made:
    { from: Tensor; transposed: boolean; order: Uint32Array; feedback: Feedback } | undefined;
  const release = (): void => {
    made?.feedback[Symbol.dispose]();
    made = undefined;
  };
  return {
    async encode(name, matrix, type, use) {
      if (use?.kind !== 'inner') return nearest.encode(name, matrix, type, use);
      const from = await hessians.of(name);
      if (made?.from !== from || made.transposed !== use.transposed) {
        release();
        const N = from.shape[0];
        const hessian = f32({ dtype: 'f32', shape: [N, N], bytes: await backend.read(from) });
        const order = use.transposed
          ? largestFirst(hessian, N)
          : Uint32Array.from({ length: N }, (_, i) => i);
        const { transposed } = use;
        made = { from, transposed, order, feedback: await factorize(backend, hessian, order) };
      }
      return gptq(backend, matrix, type, use.transposed, made.order, made.feedback);
    },
    [Symbol.dispose]: release,
  };
}

/** Inputs by their energy: those that matter most are rounded while the others can still make it good. */
const largestFirst = (hessian: Float32Array, N: number): Uint32Array =>
  Uint32Array.from({ length: N }, (_, i) => i).sort(
    (a, b) => hessian[b * N + b] - hessian[a * N + a],
  );

import { EngineError } from '../errors.ts';

interface Row {
  readonly f: (x: number) => number;
  /** Its outputs are exactly zero for negative inputs. */
  readonly makesZeros?: true;
}

/**
 * Activations that a `linear` may apply to its output. A new one is a row here and a line of
 * DEJAVU_ACTIVATIONS in native/src/kernels/activation.h, which is found by its name.
 */
const table = {
  none: { f: (x) => x },
  relu: { f: (x) => (x > 0 ? x : 0), makesZeros: true },
  gelu: { f: (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)) },
  geluTanh: {
    f: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  },
  silu: { f: (x) => x / (1 + Math.exp(-x)) },
  relu2: { f: (x) => (x > 0 ? x * x : 0), makesZeros: true },
} as const satisfies Record<string, Row>;

/** By name, what an MLP applies to its neurons; `none` hands them on. */
export type Activation = keyof typeof table;

/** Their names; a `linear` has one as a parameter, by its place here. */
export const activations = Object.keys(table) as readonly Activation[];

/** Throws `INTERNAL` for a name that is not in the table. */
export function activationCode(activation: Activation): number {
  const code = activations.indexOf(activation);
  if (code < 0) throw unknown(activation);
  return code;
}

/** The name of a code. Throws `INTERNAL` where no activation has it. */
export function activationOf(code: number): Activation {
  const activation = activations[code];
  if (activation === undefined) throw unknown(code);
  return activation;
}

/** Whether its outputs are exactly zero for negative inputs. */
export const makesZeros = (activation: Activation): boolean =>
  (table[activation] as Row).makesZeros ?? false;

export const activate = (code: number, x: number): number => table[activationOf(code)].f(x);

const unknown = (activation: string | number): EngineError =>
  new EngineError(
    'INTERNAL',
    `activation ${activation}: expected ${activations.map((name, i) => `${name} (${i})`).join(', ')}`,
  );

/** Error function, by its Taylor series near zero and a continued fraction beyond; error < 1e-15. */
function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}

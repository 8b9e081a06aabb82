/** Activations a `linear` may apply to its output; kernels receive the place in this list. */
export const activations = ['none', 'relu', 'gelu', 'geluTanh', 'silu'] as const;
export type Activation = (typeof activations)[number];

export const activationCode = (activation: Activation): number => activations.indexOf(activation);

/** Activations whose outputs are exactly zero for negative inputs. */
export const makesZeros = (activation: Activation): boolean => activation === 'relu';

export function activate(code: number, x: number): number {
  switch (activations[code]) {
    case 'relu':
      return x > 0 ? x : 0;
    case 'gelu':
      return 0.5 * x * (1 + erf(x * Math.SQRT1_2));
    case 'geluTanh':
      return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    case 'silu':
      return x / (1 + Math.exp(-x));
    default:
      return x;
  }
}

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

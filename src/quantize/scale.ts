import { f16ToF32, f32ToF16 } from '../float16.ts';

export type Codes = 'int8' | 'int4';

/** The code nearest to value / step. */
export function codeOf(value: number, step: number, type: Codes): number {
  const [low, high] = type === 'int8' ? [-127, 127] : [-8, 7];
  if (step === 0) return 0;
  return Math.max(low, Math.min(high, Math.round(value / step)));
}

/** Divisors of the largest magnitude that are tried as the step of an int4 group. */
const divisors = Float64Array.from({ length: 15 }, (_, i) => 7 + i * 0.2);

/**
 * f16 bits of the step of one group that loses least: the sum of weight · (value - code · step)².
 *
 * An int8 group is fine with the step that reaches its largest magnitude. For int4 several are tried,
 * with code -8 on the side of the largest, each improved by least squares once its codes are known.
 */
export function bestStep(
  values: Float64Array,
  weights: Float64Array | undefined,
  type: Codes,
): number {
  let furthest = 0;
  for (const value of values) if (Math.abs(value) > Math.abs(furthest)) furthest = value;
  if (type === 'int8') return f32ToF16(Math.abs(furthest) / 127);
  let best = f32ToF16(furthest / -8);
  if (furthest === 0) return best;
  let most = -1;
  for (const divisor of divisors) {
    const inverse = -divisor / furthest;
    let [products, squares] = [0, 0];
    for (let i = 0; i < values.length; i++) {
      const nearest = Math.round(values[i] * inverse);
      const code = nearest > 7 ? 7 : nearest < -8 ? -8 : nearest;
      const weight = weights ? weights[i] : 1;
      products += weight * values[i] * code;
      squares += weight * code * code;
    }
    // With the least-squares step products / squares, this is what the codes explain.
    const explained = squares > 0 ? (products * products) / squares : 0;
    if (explained <= most) continue;
    const bits = f32ToF16(products / squares);
    if (f16ToF32[bits] === 0) continue;
    most = explained;
    best = bits;
  }
  return best;
}

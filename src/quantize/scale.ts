import { f16ToF32, f32ToF16 } from '../float16.ts';
import type { Format } from '../tensor.ts';

/** What the codes of a group stand for, code · step + minimum, both as f16 bits. */
export interface Grid {
  readonly step: number;
  /** 0 where the format has none. */
  readonly minimum: number;
}

/** The code nearest to (value - minimum) / step. */
export function codeOf(
  value: number,
  step: number,
  minimum: number,
  { low, high }: Format,
): number {
  if (step === 0) return 0;
  const nearest = Math.round((value - minimum) / step);
  return nearest > high ? high : nearest < low ? low : nearest;
}

/**
 * The grid of one group that loses least: the sum of weight · (value - code · step - minimum)².
 *
 * An int8 group is fine with the step that reaches its largest magnitude. For 4 bits several grids are
 * tried, each improved by least squares once its codes are known.
 */
export function bestGrid(
  values: Float64Array,
  weights: Float64Array | undefined,
  format: Format,
): Grid {
  let furthest = 0;
  for (const value of values) if (Math.abs(value) > Math.abs(furthest)) furthest = value;
  if (format.bits === 8) return { step: f32ToF16(Math.abs(furthest) / format.high), minimum: 0 };
  const step = bestStep(values, weights, furthest);
  return format.minima ? bestRange(values, weights, f16ToF32[step]) : { step, minimum: 0 };
}

/** Divisors of the largest magnitude that are tried as a step. */
const divisors = Float64Array.from({ length: 15 }, (_, i) => 7 + i * 0.2);

/** f16 bits of a step for codes -8 … 7, -8 on the side of the largest. */
function bestStep(
  values: Float64Array,
  weights: Float64Array | undefined,
  furthest: number,
): number {
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

/** Steps from the least element to the greatest that are tried; above 15 both ends are cut off. */
const spans = Float64Array.from({ length: 10 }, (_, i) => 14 + i * 0.5);
/** How often codes are chosen anew for the grid that suited the ones before. */
const rounds = 2;

/** For codes 0 … 15, beginning with those of the step that is best where -8 … 7 are all there is. */
function bestRange(
  values: Float64Array,
  weights: Float64Array | undefined,
  symmetric: number,
): Grid {
  let [least, greatest] = [values[0], values[0]];
  for (const value of values) {
    if (value < least) least = value;
    if (value > greatest) greatest = value;
  }
  const minimum = f32ToF16(least);
  let best: Grid = { step: f32ToF16((greatest - f16ToF32[minimum]) / 15), minimum };
  let most = -1;
  for (let start = -1; start < spans.length; start++) {
    let step = start < 0 ? Math.abs(symmetric) : (greatest - least) / spans[start];
    let base =
      start < 0 ? Math.min(-8 * symmetric, 7 * symmetric) : (greatest + least - 15 * step) / 2;
    for (let round = 0; round < rounds && step > 0; round++) {
      let [count, sum, codes, products, squares] = [0, 0, 0, 0, 0];
      for (let i = 0; i < values.length; i++) {
        const nearest = Math.round((values[i] - base) / step);
        const code = nearest > 15 ? 15 : nearest < 0 ? 0 : nearest;
        const weight = weights ? weights[i] : 1;
        const value = weight * (values[i] - least);
        count += weight;
        sum += value;
        codes += weight * code;
        products += value * code;
        squares += weight * code * code;
      }
      const spread = count * squares - codes * codes;
      if (!(spread > 0)) break;
      step = (count * products - codes * sum) / spread;
      base = (sum - step * codes) / count;
      // What the codes explain of the values above the least.
      const explained = step * products + base * sum;
      base += least;
      const grid = { step: f32ToF16(step), minimum: f32ToF16(base) };
      if (explained <= most || f16ToF32[grid.step] === 0) continue;
      most = explained;
      best = grid;
    }
  }
  return best;
}

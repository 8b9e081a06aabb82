import type { Weights } from '../../model.ts';
import type { Tensor } from '../../tensor.ts';

/** Name of the slopes among a family's constants. */
export const slopesName = 'alibi.slopes';

export const slopesOf = (weights: Weights): Tensor => weights.get(slopesName);

/**
 * Slopes of ALiBi (arXiv 2108.12409), [H]: for a power of two they fall evenly, in powers of two, from
 * near 1 to 2^-`farthest`. Another number of heads takes the slopes of the power of two above: every
 * second one, which are those of the power below, then the first of the others.
 */
export function alibiSlopes(heads: number, farthest = 8): Float32Array {
  const power = 2 ** Math.ceil(Math.log2(heads));
  const slopes = Array.from({ length: power }, (_, i) => 2 ** ((-farthest * (i + 1)) / power));
  if (power === heads) return Float32Array.from(slopes);
  const [odd, even] = [1, 0].map((first) => slopes.filter((_, i) => i % 2 === first));
  return Float32Array.from([...odd, ...even].slice(0, heads));
}

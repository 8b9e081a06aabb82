import type { HostTensor } from '../op.ts';
import { u32 } from '../rows.ts';

/**
 * Indices chosen for row `row`: those of a selection tensor [R, 1 + N] (count, then ascending
 * indices), whose one row serves all where R is 1; or all of 0 … N-1 where there is no selection.
 */
export function selected(select: HostTensor | undefined, row: number, n: number): Uint32Array {
  if (!select) return Uint32Array.from({ length: n }, (_, i) => i);
  const [rows = 1, stride = 1] = select.shape;
  const start = (rows === 1 ? 0 : row) * stride;
  const data = u32(select);
  return data.subarray(start + 1, start + 1 + data[start]);
}

import type { Backend } from '../backend.ts';
import { rowSums } from '../ops/row-sums.ts';
import { Recorder } from '../program.ts';
import { slice } from '../tensor.ts';

/** Larger than the share of a cache that a process can count on. */
const bytes = 2 ** 30;
const repeats = 7;

/**
 * Read bandwidth in GB/s (1e9 bytes): the fastest of several sums over 1 GiB, by all threads. What a
 * kernel that reads every weight once cannot beat.
 */
export async function measureBandwidth(backend: Backend): Promise<number> {
  const columns = 2 ** 16;
  const x = backend.allocate('f32', [bytes / 4 / columns, columns], 'state');
  // Untouched memory may be one shared page of zeros: write it all once.
  const rows = new Float32Array(columns * 256).fill(1);
  for (let row = 0; row < x.shape[0]; row += 256) backend.write(slice(x, row, 256), rows);
  const g = new Recorder();
  g.keep(rowSums(g, x));
  const program = await backend.compile(g.finish());
  try {
    let best = Infinity;
    for (let i = 0; i < repeats; i++) {
      const start = performance.now();
      await backend.run(program);
      best = Math.min(best, performance.now() - start);
    }
    return bytes / best / 1e6;
  } finally {
    program.release();
    backend.free(x);
  }
}

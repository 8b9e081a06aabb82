import { Presets, SingleBar } from 'cli-progress';
import type { Io } from './io.ts';

export interface Progress extends Disposable {
  /** `share` of the work is done, 0 to 1. */
  update(share: number, label: string): void;
}

/** A bar for a person who watches; silence for everyone else. */
export function startProgress(io: Io): Progress {
  if (!io.stderr.isTTY) return { update: () => undefined, [Symbol.dispose]: () => undefined };
  const bar = new SingleBar(
    {
      stream: io.stderr,
      format: '{bar} {percentage} % · {label}',
      hideCursor: true,
      clearOnComplete: true,
    },
    Presets.shades_classic,
  );
  bar.start(1000, 0, { label: '' });
  return {
    update: (share, label) => bar.update(Math.round(1000 * share), { label }),
    [Symbol.dispose]: () => bar.stop(),
  };
}

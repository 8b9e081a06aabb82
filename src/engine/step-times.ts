import type { RunTimes } from '../backend.ts';
import type { Command, Recording } from '../program.ts';

/** Where the time of a step went: shares of the time that all threads have together, 1 in all. */
export interface StepTimes {
  /** Products with matrices that are read whole. */
  readonly whole: number;
  /** Products with the selected rows of matrices. */
  readonly selected: number;
  /** Attention over the cache. */
  readonly attention: number;
  /** Predictors, and making selections of scores. */
  readonly choosing: number;
  /** Norms, rotations, rounding of activations and the like. */
  readonly rest: number;
  /** Threads that had nothing to do: the ends of stages. */
  readonly waiting: number;
}

/** Shares of the time of one run, by what its commands read and write. */
export function stepTimes(recording: Recording, times: RunTimes, threads: number): StepTimes {
  const shares = { whole: 0, selected: 0, attention: 0, choosing: 0, rest: 0, waiting: 1 };
  const all = times.seconds * threads;
  recording.stages.flat().forEach((command, i) => {
    const share = times.commands[i] / all;
    shares[kindOf(command)] += share;
    shares.waiting -= share;
  });
  return { ...shares, waiting: Math.max(0, shares.waiting) };
}

function kindOf({ op, operands }: Command): Exclude<keyof StepTimes, 'waiting'> {
  const used = Object.values(operands);
  if (used.some((tensor) => tensor?.role === 'predictor') || op.writes.includes('select'))
    return 'choosing';
  if (used.some((tensor) => tensor?.role === 'kv')) return 'attention';
  if (!used.some((tensor) => tensor?.role === 'weights' && tensor.shape.length > 1)) return 'rest';
  return operands['select'] ? 'selected' : 'whole';
}

import type { Engine } from '../engine/engine.ts';
import { expectWhole } from '../errors.ts';
import type { TaskRun } from './task.ts';

/** Ids `[start, end)` of a text, of which those from `first` on are scored, each after all before it. */
export interface Window {
  readonly start: number;
  readonly first: number;
  readonly end: number;
}

export interface Windowing {
  readonly window: number;
  readonly stride: number;
}

/** Window and stride of a run. Throws `BAD_REQUEST`. */
export function windowing(
  engine: Engine,
  options: { readonly [K in keyof Windowing]?: Windowing[K] | undefined },
): Windowing {
  const { window = Math.min(512, engine.context) } = options;
  const { stride = Math.max(1, window >> 1) } = options;
  expectWhole('window', window, 2, engine.context, ', the tokens of the context');
  expectWhole('stride', stride, 1, window - 1, `, less than the window of ${window}`);
  return { window, stride };
}

/**
 * Windows over `length` ids: each scores what no earlier one scored, the first all but its first id,
 * the last may be shorter. They end once `scored` ids are covered.
 */
export function windowsOf(
  length: number,
  { window, stride }: Windowing,
  scored = Infinity,
): Window[] {
  const last = Math.min(length, 1 + scored);
  const windows: Window[] = [];
  for (let start = 0, first = 1; first < last; start += stride) {
    const end = Math.min(start + window, last);
    windows.push({ start, first, end });
    first = end;
  }
  return windows;
}

/**
 * Loss of each scored id, in nats, in order of the text.
 *
 * A method other than dense computes every scored position by its decode path, after a dense prefill
 * of what lies before the window's first scored id; so does dense where the KV policy evicts. Otherwise dense
 * scores a window by prefill, but for its first and last position: these are decoded, so that their mean
 * tells what a decode step reads.
 */
export async function scoreWindows(
  ids: Int32Array,
  windows: readonly Window[],
  { method, policy, session: begin, usage, signal, onProgress }: Omit<TaskRun, 'items' | 'texts'>,
): Promise<Float64Array> {
  const total = windows.reduce((sum, { first, end }) => sum + end - first, 0);
  const losses = new Float64Array(total);
  const decodesAll = !method.computesAll || policy.keeps !== 'all';
  let done = 0;
  using session = begin();

  const decode = async (at: number): Promise<void> => {
    signal?.throwIfAborted();
    losses[done++] = await session.scoreDecode(ids[at - 1], ids[at]);
    usage.add(await session.usage(), session.denseBytes());
    onProgress(done / total);
  };

  for (const { start, first, end } of windows) {
    signal?.throwIfAborted();
    session.truncate(0);
    if (first - 1 > start) await session.prefill(ids.subarray(start, first - 1), signal);
    await decode(first);
    if (decodesAll) for (let at = first + 1; at < end; at++) await decode(at);
    else if (end - first > 1) {
      const targets = ids.subarray(first + 1, end - 1);
      if (targets.length) {
        losses.set(await session.score(ids.subarray(first, end - 2), targets), done);
        done += targets.length;
      }
      await decode(end - 1);
    }
  }
  return losses;
}

import type { Backend } from '../backend.ts';
import type { Model } from '../engine/step.ts';
import { openSession, type Session } from '../engine/session.ts';
import { full } from '../kv/full.ts';
import type { Sparsity } from '../sparsity.ts';
import { dense } from '../sparsity/dense.ts';

/** A window of ids: the first quarter is context, the rest is scored. */
export interface Window {
  /** Ids before the scored ones; at least one. */
  readonly context: Int32Array;
  readonly scored: Int32Array;
}

/** Cut ids into windows of `length` that score about `most` ids in all. */
export function scoredWindows(ids: Int32Array, length: number, most: number): Window[] {
  const context = Math.max(1, length >> 2);
  const each = length - context;
  const windows: Window[] = [];
  for (let start = 0; start + length <= ids.length && windows.length * each < most; start += length)
    windows.push({
      context: ids.subarray(start, start + context),
      scored: ids.subarray(start + context, start + length),
    });
  return windows;
}

/** Loss of every scored id, in nats, by dense prefill. */
export async function denseLosses(
  backend: Backend,
  model: Model,
  windows: readonly Window[],
): Promise<Float64Array> {
  return inWindows(backend, model, dense, windows, async (session, { context, scored }) => {
    const ids = Int32Array.of(...context, ...scored);
    const losses = await session.score(ids.subarray(0, -1), ids.subarray(1));
    return losses.subarray(context.length - 1);
  });
}

/** The same as it is served: context by dense prefill, every scored position by a decode step. */
export async function decodeLosses(
  backend: Backend,
  model: Model,
  method: Sparsity,
  windows: readonly Window[],
  signal?: AbortSignal,
): Promise<Float64Array> {
  return inWindows(backend, model, method, windows, async (session, { context, scored }) => {
    signal?.throwIfAborted();
    if (context.length > 1) await session.prefill(context.subarray(0, -1));
    const losses = new Float64Array(scored.length);
    let last = context[context.length - 1];
    for (let i = 0; i < scored.length; i++) {
      losses[i] = await session.scoreDecode(last, scored[i]);
      last = scored[i];
    }
    return losses;
  });
}

/** Dense logits that predict each scored id, [scored, V] a window. */
export async function denseLogits(
  backend: Backend,
  model: Model,
  windows: readonly Window[],
): Promise<Float32Array[][]> {
  const all: Float32Array[][] = [];
  await inWindows(backend, model, dense, windows, async (session, { context, scored }) => {
    if (context.length > 1) await session.prefill(context.subarray(0, -1));
    const ids = Int32Array.of(context[context.length - 1], ...scored.subarray(0, -1));
    const { logits } = await session.inspect(ids);
    const V = logits.length / ids.length;
    all.push(Array.from(ids, (_, t) => logits.subarray(t * V, (t + 1) * V)));
    return [];
  });
  return all;
}

/** KL(dense ‖ method) at every scored position, in nats, as it is served. */
export async function divergences(
  backend: Backend,
  model: Model,
  method: Sparsity,
  windows: readonly Window[],
  reference: readonly (readonly Float32Array[])[],
  onWindow: () => void,
): Promise<Float64Array> {
  let at = 0;
  return inWindows(backend, model, method, windows, async (session, { context, scored }) => {
    if (context.length > 1) await session.prefill(context.subarray(0, -1));
    const values = new Float64Array(scored.length);
    const expected = reference[at++];
    for (let i = 0; i < scored.length; i++)
      values[i] = await session.compareDecode(
        i ? scored[i - 1] : context[context.length - 1],
        expected[i],
      );
    onWindow();
    return values;
  });
}

async function inWindows(
  backend: Backend,
  model: Model,
  method: Sparsity,
  windows: readonly Window[],
  score: (session: Session, window: Window) => Promise<ArrayLike<number>>,
): Promise<Float64Array> {
  const capacity = Math.max(...windows.map((w) => w.context.length + w.scored.length));
  using session = openSession(backend, model, { method, policy: full, capacity });
  const losses: number[] = [];
  for (const window of windows) {
    session.truncate(0);
    losses.push(...Array.from(await score(session, window)));
  }
  return Float64Array.from(losses);
}

export const mean = (values: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum / values.length;
};

import type { Engine } from '../engine/engine.ts';
import { argmax } from '../engine/sampler.ts';

export interface Agreement {
  /** Ids that two greedy continuations share before they part. */
  readonly commonIds: number;
  /** Share of steps whose likeliest id is dense's, each step being fed what dense wrote. */
  readonly sameArgmax: number;
}

/** How far an engine's method agrees with a greedy dense continuation of at least two ids. */
export async function measureAgreement(
  engine: Engine,
  promptIds: readonly number[],
  denseIds: readonly number[],
  ids: readonly number[],
  signal?: AbortSignal,
): Promise<Agreement> {
  let commonIds = 0;
  while (commonIds < denseIds.length && ids[commonIds] === denseIds[commonIds]) commonIds++;
  using session = engine.session();
  await session.prefill(Int32Array.from(promptIds), signal);
  const steps = denseIds.length - 1;
  let same = 0;
  for (let i = 0; i < steps; i++) {
    signal?.throwIfAborted();
    if (argmax(await session.decode(denseIds[i])) === denseIds[i + 1]) same++;
  }
  return { commonIds, sameArgmax: steps > 0 ? same / steps : 1 };
}

import type { Engine } from '../engine/engine.ts';
import { Usage } from '../engine/usage.ts';
import type { KVPolicy } from '../kv.ts';
import type { Sparsity } from '../sparsity.ts';
import type { TaskRun } from './task.ts';

/** What is tested, and who may end it. */
export interface Tested {
  /** What decode steps ask (`engine.method`). Default: the engine's. */
  readonly method?: Sparsity | undefined;
  /** What caches keep (`engine.policyOf`). Default: the engine's. */
  readonly policy?: KVPolicy | undefined;
  /** Ends the run between steps. */
  readonly signal?: AbortSignal | undefined;
}

/** Sessions and generations under one method and policy, whose decode steps are counted together. */
export function runOf(
  engine: Engine,
  { method = engine.sparsity, policy = engine.policy, signal }: Tested,
): Pick<TaskRun, 'method' | 'policy' | 'usage' | 'session' | 'generate' | 'signal' | 'limit'> {
  const usage = new Usage(engine.description.layers, 0);
  return {
    ...{ method, policy, usage, signal, limit: undefined },
    session: () => engine.session(method, policy),
    generate: async (prompt, options) => {
      const tested = { temperature: 0, ...options, method, policy, usage };
      const { result } = engine.generate(prompt, { ...tested, ...(signal && { signal }) });
      const generated = await result;
      signal?.throwIfAborted();
      return generated;
    },
  };
}

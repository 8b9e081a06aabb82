import type { Backend } from '../backend.ts';
import { expectAccepted } from '../backends/expect.ts';
import type { KVPolicy } from '../kv.ts';
import { cacheShape, createCache } from '../kv/cache.ts';
import type { CacheType } from '../ops/attention.ts';
import type { Sparsity } from '../sparsity.ts';
import { dense } from '../sparsity/dense.ts';
import { type Model, recordStep } from './step.ts';

/**
 * Throws `BACKEND_REFUSES`, with every reason, where a backend cannot run a step of a prompt or one that decodes
 * a text by the method. Both are recorded and asked about; nothing is compiled, and the cache takes no memory.
 */
export function expectRunnable(
  backend: Backend,
  model: Model,
  text: { method: Sparsity; policy: KVPolicy; capacity: number; cacheType: CacheType },
): void {
  const described: Backend = {
    ...{ name: backend.name, info: backend.info, limits: backend.limits },
    refuses: (command) => backend.refuses(command),
    allocate: (dtype, shape, role) => ({
      ...{ dtype, shape, role, byteOffset: 0 },
      storage: { bytes: 0, role },
    }),
    free: () => undefined,
    write: () => undefined,
    read: (...asked) => backend.read(...asked),
    compile: (recording) => backend.compile(recording),
    run: (program) => backend.run(program),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const shape = cacheShape(model.description, text.capacity, 1, text.cacheType);
  using cache = createCache(described, text.policy, shape);
  const steps = [
    recordStep(described, model, cache, dense, { rows: 2, logits: 'last' }),
    recordStep(described, model, cache, text.method, { rows: 1, logits: 'all' }),
  ];
  expectAccepted(
    backend,
    steps.flatMap(({ g }) => g.commands),
  );
}

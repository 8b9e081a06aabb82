import type { Backend } from '../backend.ts';
import type { Cache } from '../cache.ts';
import { EngineError } from '../errors.ts';
import type { KVPolicy } from '../kv.ts';
import { PlaceAngles } from './parts/angles.ts';
import { budgetAt } from './parts/budget.ts';
import { type Block, fillLedger, fillRows, randomBlock } from './parts/fill.ts';
import { LateKeys } from './parts/later.ts';
import { layoutOf } from './parts/layout.ts';
import { type CacheShape, keptBytes, lateInputs, Memory } from './parts/memory.ts';
import { Step } from './parts/step.ts';

export { cacheBytes, type CacheShape, cacheShape } from './parts/memory.ts';

/**
 * Allocate a cache: keys and values [B, G, S, D] a layer, S being the slots of the policy's layout.
 *
 * Where the policy keeps everything and the shape has `inputs`, steps of one row may store keys and values of
 * chosen heads alone (`LateKeys`).
 */
export function createCache(
  backend: Backend,
  policy: KVPolicy,
  shape: CacheShape,
): Cache & Disposable {
  const { layers, sequences, kvHeads, capacity } = shape;
  const layout = layoutOf(policy, capacity, layers);
  const memory = new Memory(backend, policy, shape, layout);
  const late = lateInputs(policy, shape) ? new LateKeys(backend, shape, memory.layers) : undefined;
  const placeAngles = layout.slots.map((slots) => new PlaceAngles(backend, slots));
  const parts = { policy, layout, memory: memory.layers, sequences, late, placeAngles };
  let block: Block | undefined;

  return {
    policy,
    layout,
    get residentBytes() {
      return keptBytes(policy, shape) + (late?.residentBytes ?? 0);
    },

    begin: (g, rows) => new Step(g, rows, parts),

    async positions(layer, head, text, length, kept) {
      const { ledger } = memory.layers[layer];
      if (head >= kvHeads || text >= sequences)
        throw new EngineError('INTERNAL', `there is no KV head ${head} of text ${text}`);
      const group = layout.groups[layer];
      const count = kept[group];
      const { sinks } = budgetAt(policy, layer);
      if (!ledger)
        return Array.from({ length: count }, (_, i) => (i < sinks ? i : length - count + i));
      const all = new Int32Array((await backend.read([ledger.positions]))[0].buffer);
      const first = (text * kvHeads + head) * layout.slots[group];
      return Array.from(all.subarray(first, first + count)).sort((a, b) => a - b);
    },

    fill(text, length, kept, random) {
      memory.layers.forEach(({ keys, values, ledger, pages }, layer) => {
        const group = layout.groups[layer];
        const count = Math.min(length, layout.slots[group]);
        block ??= randomBlock(keys, random);
        for (const tensor of [keys, values])
          fillRows(backend, tensor, { text, count }, block, random);
        if (pages) {
          const used = { text, count: Math.ceil(count / (layout.slots[group] / pages.shape[2])) };
          fillRows(backend, pages, used, randomBlock(pages, random), random);
        }
        if (ledger)
          fillLedger(backend, ledger, policy, { layer, text, length, kept: kept[group] }, random);
      });
    },

    [Symbol.dispose]() {
      memory[Symbol.dispose]();
      late?.[Symbol.dispose]();
      for (const angles of placeAngles) angles[Symbol.dispose]();
    },
  };
}

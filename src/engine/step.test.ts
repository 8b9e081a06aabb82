import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { Engine } from './local.ts';

const parity = fileURLToPath(new URL('../../test/data/parity/', import.meta.url));

/** Key and value bytes that one decode step reads after 12 tokens. */
async function kvBytes(name: string): Promise<{ kv: number; slot: number }> {
  await using engine = await Engine.open(parity + name, { weights: 'f32', sparsity: 'dense' });
  using session = engine.session();
  await session.prefill(Int32Array.from({ length: 12 }, (_, i) => i + 3));
  await session.decode(40);
  const { kvHeads, headDim } = engine.description;
  return { kv: (await session.usage()).kv, slot: 2 * 4 * kvHeads * headDim };
}

test('keys and values outside a window are not counted as read', async () => {
  const all = await kvBytes('llama-relu');
  expect(all.kv).toBe((13 + 13 + 13) * all.slot);
  const windows = await kvBytes('mistral-window');
  expect(windows.kv).toBe((9 + 9 + 9) * windows.slot);
  const mixed = await kvBytes('qwen2-windows');
  expect(mixed.kv).toBe((13 + 7 + 7) * mixed.slot);
});

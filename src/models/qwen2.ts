import * as z from 'zod/mini';
import { parseConfig } from './parts/config.ts';
import { llamaConfig, llamaFields, llamaLike } from './parts/llama-like.ts';
import { readWindows, windowFields } from './parts/windows.ts';

const schema = z.object({ ...llamaFields, ...windowFields });

/** Qwen2 (arXiv 2407.10671) and Qwen2.5: Llama with biases of queries, keys and values. */
export const qwen2 = llamaLike('qwen2', 'Qwen2, Qwen2.5: as Llama, with biases; windows by layer', (json) => {
  const fields = parseConfig(schema, json);
  return llamaConfig(fields, {
    biases: { qkv: true, out: false, mlp: false },
    qkNorm: false,
    windows: readWindows(fields),
  });
});

import * as z from 'zod';
import { count, parseConfig } from './parts/config.ts';
import { llamaConfig, llamaFields, llamaLike } from './parts/llama-like.ts';
import { readWindows, windowFields } from './parts/windows.ts';

const schema = z.object({
  ...llamaFields,
  ...windowFields,
  head_dim: count.default(128),
  attention_bias: z.boolean().default(false),
});

/** Qwen3 (arXiv 2505.09388): Llama that norms queries and keys of each head. */
export const qwen3 = llamaLike('qwen3', 'Qwen3: as Llama, with norms of queries and keys; windows by layer', (json) => {
  const { attention_bias: bias, ...fields } = parseConfig(schema, json);
  return llamaConfig(fields, {
    biases: { qkv: bias, out: bias, mlp: false },
    qkNorm: true,
    windows: readWindows(fields),
  });
});

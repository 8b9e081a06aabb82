import * as z from 'zod/mini';
import { count, flag, parseConfig } from './parts/config.ts';
import { llamaConfig, llamaFields, llamaLike } from './parts/llama-like.ts';
import { readWindows, windowFields } from './parts/windows.ts';

const schema = z.object({
  ...llamaFields,
  ...windowFields,
  head_dim: z._default(count, 128),
  attention_bias: flag(false),
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

import * as z from 'zod/mini';
import { count, parseConfig } from './parts/config.ts';
import { llamaConfig, llamaFields, llamaLike } from './parts/llama-like.ts';

const schema = z.object({
  ...llamaFields,
  num_key_value_heads: z._default(z.nullable(count), 8),
  sliding_window: z._default(z.nullable(count), 4096),
});

/** Mistral (arXiv 2310.06825): Llama whose attention may see a window alone. */
export const mistral = llamaLike('mistral', 'Mistral: as Llama, with a sliding window', (json) => {
  const { sliding_window: window, ...fields } = parseConfig(schema, json);
  return llamaConfig(fields, {
    biases: { qkv: false, out: false, mlp: false },
    qkNorm: false,
    windows: new Array<number>(fields.num_hidden_layers).fill(window ?? 0),
  });
});

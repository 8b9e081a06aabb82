import * as z from 'zod/mini';
import { count, flag, parseConfig } from './parts/config.ts';
import { llamaConfig, llamaFields, llamaLike } from './parts/llama-like.ts';

const schema = z.object({
  ...llamaFields,
  max_position_embeddings: z._default(count, 2048),
  attention_bias: flag(false),
  mlp_bias: flag(false),
  sliding_window: z.optional(z.null('this family attends to all tokens')),
});

/**
 * Llama (arXiv 2302.13971, 2407.21783) and what is published as it: SmolLM2, ReLU and ReGLU variants.
 */
export const llama = llamaLike('llama', 'Llama 1 to 3, SmolLM2, ReLU and ReGLU variants: rotary (linear, Llama 3 and YaRN scaling), grouped keys, gated MLP', (json) => {
  const { attention_bias: bias, mlp_bias: mlp, ...fields } = parseConfig(schema, json);
  return llamaConfig(fields, {
    biases: { qkv: bias, out: bias, mlp },
    qkNorm: false,
    windows: new Array<number>(fields.num_hidden_layers).fill(0),
  });
});

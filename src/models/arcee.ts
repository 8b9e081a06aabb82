import * as z from 'zod/mini';
import { activation, flag, parseConfig } from './parts/config.ts';
import { llamaConfig, llamaFields, llamaLike } from './parts/llama-like.ts';

const schema = z.object({
  ...llamaFields,
  hidden_act: z._default(activation, 'relu2'),
  rms_norm_eps: z._default(z.number().check(z.positive()), 1e-5),
  attention_bias: flag(false),
  mlp_bias: flag(false),
});

/** Arcee Foundation Models (AFM-4.5B): Llama with a plain MLP of squared ReLU. */
export const arcee = llamaLike('arcee', 'Arcee (AFM): as Llama, with a plain MLP of squared ReLU', (json) => {
  const { attention_bias: bias, mlp_bias: mlp, ...fields } = parseConfig(schema, json);
  return llamaConfig(fields, {
    biases: { qkv: bias, out: bias, mlp },
    qkNorm: false,
    windows: new Array<number>(fields.num_hidden_layers).fill(0),
    gated: false,
  });
});

import * as z from 'zod/mini';
import { EngineError } from '../../errors.ts';
import type { Activation } from '../../ops/activation.ts';
import { checked } from '../../schema.ts';

/** Reading of config.json, as transformers 4 and 5 write it. */

/** A width, a count: bounded, so that a wrong one is refused and not allocated. */
export const count = z.int().check(z.minimum(1), z.maximum(2 ** 24));
/** A switch that may be absent. */
export const flag = (otherwise: boolean) => z._default(z.boolean(), otherwise);
export const positive = z.number().check(z.positive());
export const layerCount = z.int().check(z.minimum(1), z.maximum(4096));
/** `eos_token_id`: one id, several, or none. */
export const endIds = z.pipe(z.nullish(z
  .union([z.int().check(z.minimum(0)), z.array(z.int().check(z.minimum(0)))])), z.transform((ids) => (typeof ids === 'number' ? [ids] : (ids ?? []))));

/** transformers' names of activations this engine computes. */
const activationNames: Readonly<Record<string, Activation>> = {
  relu: 'relu',
  gelu: 'gelu',
  gelu_python: 'gelu',
  gelu_new: 'geluTanh',
  gelu_fast: 'geluTanh',
  gelu_pytorch_tanh: 'geluTanh',
  silu: 'silu',
  swish: 'silu',
  relu2: 'relu2',
};

export const activation = z.pipe(z.string(), z.transform((name, context) => {
  if (Object.hasOwn(activationNames, name)) return activationNames[name];
  context.issues.push({
    code: 'custom',
    input: name,
    message: `${JSON.stringify(name)} is none of ${Object.keys(activationNames).join(', ')}`,
  });
  return z.NEVER;
}));

/** What would change the computation in any family and is not done. */
const unsupported = z.object({
  quantization_config: z.optional(z.null('quantized checkpoints are not read')),
});

/** Parse a config.json. Throws `BAD_CONFIG`, naming every field that is wrong. */
export function parseConfig<S extends z.ZodMiniType>(schema: S, json: unknown): z.output<S> {
  const result = checked(z.intersection(unsupported, schema), json);
  if (result.success) return result.data;
  const faults = result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new EngineError(
    'BAD_CONFIG',
    `config.json: ${faults.join('; ')}; expected a configuration this engine computes; correct it or choose another model`,
  );
}

/** Throw `BAD_CONFIG` for one thing found wrong after parsing. */
export function refuse(found: string, expected: string): never {
  throw new EngineError(
    'BAD_CONFIG',
    `config.json: ${found}; expected ${expected}; correct it or choose another model`,
  );
}

/** Size of each head where heads divide the hidden state among themselves; `names` are config.json's. */
export function headSize(
  hidden: number,
  heads: number,
  names: readonly [hidden: string, heads: string] = ['hidden_size', 'num_attention_heads'],
): number {
  if (hidden % heads) refuse(`${names[1]} is ${heads}`, `a divisor of ${names[0]}, ${hidden}`);
  return hidden / heads;
}

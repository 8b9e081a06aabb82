import * as z from 'zod/mini';
import { count, flag, refuse } from './config.ts';

/** Fields of config.json that say which layers attend in a window, as the Qwen families have them. */
export const windowFields = {
  use_sliding_window: flag(false),
  sliding_window: z._default(z.nullable(count), 4096),
  max_window_layers: z._default(z.int().check(z.minimum(0)), 28),
  layer_types: z.nullish(z.array(z.enum(['full_attention', 'sliding_attention']))),
};

/**
 * Keys a query sees, by layer; 0: all. Layers from `max_window_layers` on have the window, unless
 * `layer_types` names those that do.
 */
export function readWindows(
  c: z.output<z.ZodMiniObject<typeof windowFields>> & { readonly num_hidden_layers: number },
): number[] {
  const { layer_types: types, num_hidden_layers: layers } = c;
  if (types && types.length !== layers)
    refuse(`layer_types names ${types.length} layers`, `all ${layers}`);
  const window = c.use_sliding_window ? (c.sliding_window ?? 0) : 0;
  if (!window && types?.includes('sliding_attention'))
    refuse('layer_types names sliding_attention', 'use_sliding_window and a sliding_window with it');
  return Array.from({ length: layers }, (_, layer) => {
    const slides = types ? types[layer] === 'sliding_attention' : layer >= c.max_window_layers;
    return slides ? window : 0;
  });
}

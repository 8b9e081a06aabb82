import * as z from 'zod';
import type { Rotation } from '../../kv.ts';
import type { Weights } from '../../model.ts';
import { refuse } from './config.ts';

/** Fields of config.json that describe rotary embedding, in all the places they have been kept. */
export const ropeFields = {
  rope_theta: z.number().positive().optional(),
  rotary_emb_base: z.number().positive().optional(),
  partial_rotary_factor: z.number().positive().max(1).optional(),
  rotary_pct: z.number().positive().max(1).optional(),
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
};

type RopeFields = z.output<z.ZodObject<typeof ropeFields>>;

export interface Rope {
  readonly theta: number;
  /** Share of each head that is rotated. */
  readonly share: number;
  readonly scaling: Scaling;
}

const scaling = z.discriminatedUnion('rope_type', [
  z.object({ rope_type: z.literal('default') }),
  z.object({ rope_type: z.literal('linear'), factor: z.number().positive() }),
  z.object({
    rope_type: z.literal('llama3'),
    factor: z.number().positive(),
    low_freq_factor: z.number().positive(),
    high_freq_factor: z.number().positive(),
    original_max_position_embeddings: z.int().positive(),
  }),
]);
type Scaling = z.output<typeof scaling>;

const bases = z.object({
  rope_theta: ropeFields.rope_theta,
  partial_rotary_factor: ropeFields.partial_rotary_factor,
});

/**
 * Merge the layouts: transformers 5 keeps all in `rope_parameters`; transformers 4 has `rope_scaling`,
 * whose type was first named `type`, and the base and share beside it.
 */
export function readRope(fields: RopeFields, defaults: { theta: number; share: number }): Rope {
  const given = { ...fields.rope_scaling, ...fields.rope_parameters };
  const kind = given.rope_type ?? given.type ?? 'default';
  const parsed = scaling.safeParse({ ...given, rope_type: kind });
  if (!parsed.success)
    refuse(
      `its rotary scaling is ${JSON.stringify(given)}`,
      'rope_type default, linear or llama3 with its parameters',
    );
  const inner = bases.safeParse(given);
  if (!inner.success)
    refuse(`its rope_parameters are ${JSON.stringify(given)}`, 'positive numbers');
  return {
    theta: inner.data.rope_theta ?? fields.rope_theta ?? fields.rotary_emb_base ?? defaults.theta,
    share:
      inner.data.partial_rotary_factor ??
      fields.partial_rotary_factor ??
      fields.rotary_pct ??
      defaults.share,
    scaling: parsed.data,
  };
}

/** Elements of a head that are rotated, R. */
export function rotatedSize(rope: Rope, headDim: number): number {
  const size = Math.floor(headDim * rope.share);
  if (size % 2 || size === 0)
    refuse(`${size} of ${headDim} elements of a head are rotated`, 'an even number, at least 2');
  return size;
}

/** Angle per position of each rotated pair, [R/2]. */
export function ropeFrequencies(rope: Rope, headDim: number): Float32Array {
  const size = rotatedSize(rope, headDim);
  return Float32Array.from({ length: size / 2 }, (_, i) =>
    scaled(rope.theta ** ((-2 * i) / size), rope.scaling),
  );
}

function scaled(frequency: number, by: Scaling): number {
  switch (by.rope_type) {
    case 'default':
      return frequency;
    case 'linear':
      return frequency / by.factor;
    case 'llama3': {
      // Turns of this pair within the original context: many stay, few are stretched by `factor`.
      const turns = (by.original_max_position_embeddings * frequency) / (2 * Math.PI);
      if (turns > by.high_freq_factor) return frequency;
      if (turns < by.low_freq_factor) return frequency / by.factor;
      const kept = (turns - by.low_freq_factor) / (by.high_freq_factor - by.low_freq_factor);
      return frequency * (kept + (1 - kept) / by.factor);
    }
  }
}

/** Name of the frequencies among a family's constants. */
export const frequenciesName = 'rotary.frequencies';

export const rotationOf = (weights: Weights): Rotation => ({
  frequencies: weights.get(frequenciesName),
  scale: 1,
});

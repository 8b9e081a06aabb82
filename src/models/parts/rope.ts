import * as z from 'zod/mini';
import type { Rotation } from '../../cache.ts';
import type { Weights } from '../../model.ts';
import { positive, refuse } from './config.ts';
import { type Frequencies, scalings } from './rope-scaling.ts';

/** Fields of config.json that describe rotary embedding, in all the places they have been kept. */
export const ropeFields = {
  rope_theta: z.optional(positive),
  rotary_emb_base: z.optional(positive),
  partial_rotary_factor: z.optional(z.number().check(z.positive(), z.maximum(1))),
  rotary_pct: z.optional(z.number().check(z.positive(), z.maximum(1))),
  rope_scaling: z.nullish(z.record(z.string(), z.unknown())),
  rope_parameters: z.nullish(z.record(z.string(), z.unknown())),
};

type RopeFields = z.output<z.ZodMiniObject<typeof ropeFields>>;

export interface Rope {
  readonly theta: number;
  /** Share of each head that is rotated. */
  readonly share: number;
  /** Positions of the configuration. */
  readonly context: number;
  readonly scaling: { readonly type: keyof typeof scalings; readonly given: unknown };
}

const bases = z.object({
  rope_theta: ropeFields.rope_theta,
  partial_rotary_factor: ropeFields.partial_rotary_factor,
});

/**
 * Merge the layouts: transformers 5 keeps all in `rope_parameters`; transformers 4 has `rope_scaling`,
 * whose type was first named `type`, and the base and share beside it.
 */
export function readRope(
  fields: RopeFields & { readonly max_position_embeddings: number },
  defaults: { theta: number; share: number },
): Rope {
  const given = { ...fields.rope_scaling, ...fields.rope_parameters };
  const type = given.rope_type ?? given.type ?? 'default';
  const known = typeof type === 'string' && Object.hasOwn(scalings, type);
  const parsed = known ? scalings[type as keyof typeof scalings].fields.safeParse(given) : undefined;
  if (!parsed?.success)
    refuse(
      `its rotary scaling is ${JSON.stringify(given)}`,
      `rope_type ${Object.keys(scalings).join(', ')} with its parameters`,
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
    context: fields.max_position_embeddings,
    scaling: { type: type as keyof typeof scalings, given: parsed.data },
  };
}

/** Elements of a head that are rotated, R. */
export function rotatedSize(rope: Rope, headDim: number): number {
  const size = Math.floor(headDim * rope.share);
  if (size % 2 || size === 0)
    refuse(`${size} of ${headDim} elements of a head are rotated`, 'an even number, at least 2');
  return size;
}

const scaled = (rope: Rope, size: number): Frequencies =>
  scalings[rope.scaling.type].of(rope.scaling.given, { ...rope, size });

/** Angle per position of each rotated pair, [R/2]. */
export const ropeFrequencies = (rope: Rope, headDim: number): Float32Array =>
  scaled(rope, rotatedSize(rope, headDim)).frequencies;

/** Name of the frequencies among a family's constants. */
export const frequenciesName = 'rotary.frequencies';

/** How queries and keys of so many elements are rotated. */
export const rotationOf = (weights: Weights, rope: Rope, headDim: number): Rotation => ({
  frequencies: weights.get(frequenciesName),
  scale: scaled(rope, rotatedSize(rope, headDim)).scale,
});

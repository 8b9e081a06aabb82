import * as z from 'zod/mini';

/** What a scaling stretches: rotary embedding of R elements of a head, trained on `context` positions. */
export interface Stretched {
  readonly theta: number;
  /** R */
  readonly size: number;
  /** Positions that the configuration names, those of the stretched model. */
  readonly context: number;
}

/** Angles per position of each rotated pair, [R/2], and the factor on cosines and sines. */
export interface Frequencies {
  readonly frequencies: Float32Array;
  readonly scale: number;
}

interface Scaling<S extends z.core.$ZodShape> {
  readonly fields: S;
  of(given: z.output<z.ZodMiniObject<S>>, rope: Stretched): Frequencies;
}

const scaling = <S extends z.core.$ZodShape>(fields: S, of: Scaling<S>['of']) => ({
  fields: z.object(fields),
  of: (given: unknown, rope: Stretched): Frequencies =>
    of(given as z.output<z.ZodMiniObject<S>>, rope),
});

const positive = z.number().check(z.positive());
const optional = z.nullish(positive);

/** Each angle, by its index and by what it is without scaling. */
const each = ({ theta, size }: Stretched, angle: (plain: number, i: number) => number) =>
  Float32Array.from({ length: size / 2 }, (_, i) => angle(theta ** ((-2 * i) / size), i));

/** Scalings by `rope_type`, as transformers computes them (modeling_rope_utils.py). */
export const scalings = {
  default: scaling({}, (_, rope) => ({ frequencies: each(rope, (plain) => plain), scale: 1 })),

  linear: scaling({ factor: positive }, ({ factor }, rope) => ({
    frequencies: each(rope, (plain) => plain / factor),
    scale: 1,
  })),

  llama3: scaling(
    {
      factor: positive,
      low_freq_factor: positive,
      high_freq_factor: positive,
      original_max_position_embeddings: z.int().check(z.positive()),
    },
    (by, rope) => ({
      frequencies: each(rope, (plain) => {
        // Turns of this pair within the original context: many stay, few are stretched by `factor`.
        const turns = (by.original_max_position_embeddings * plain) / (2 * Math.PI);
        if (turns > by.high_freq_factor) return plain;
        if (turns < by.low_freq_factor) return plain / by.factor;
        const kept = (turns - by.low_freq_factor) / (by.high_freq_factor - by.low_freq_factor);
        return plain * (kept + (1 - kept) / by.factor);
      }),
      scale: 1,
    }),
  ),

  /** YaRN (arXiv 2309.00071): pairs that turn often stay, those that turn seldom are stretched, and attention is sharper. */
  yarn: scaling(
    {
      factor: optional,
      original_max_position_embeddings: z.nullish(z.int().check(z.positive())),
      attention_factor: optional,
      mscale: z.nullish(z.number()),
      mscale_all_dim: z.nullish(z.number()),
      beta_fast: optional,
      beta_slow: optional,
      truncate: z.nullish(z.boolean()),
    },
    (by, rope) => {
      const original = by.original_max_position_embeddings ?? rope.context;
      const factor = by.factor ?? rope.context / original;
      const fast = pairOf(by.beta_fast ?? 32, original, rope);
      const slow = pairOf(by.beta_slow ?? 1, original, rope);
      const whole = by.truncate ?? true;
      const low = Math.max(0, whole ? Math.floor(fast) : fast);
      const high = Math.min(rope.size - 1, whole ? Math.ceil(slow) : slow);
      const span = low === high ? 0.001 : high - low;
      const sharpness = (m: number): number => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
      const { mscale, mscale_all_dim } = by;
      const usual =
        mscale && mscale_all_dim ? sharpness(mscale) / sharpness(mscale_all_dim) : sharpness(1);
      return {
        frequencies: each(rope, (plain, i) => {
          const stretched = Math.min(1, Math.max(0, (i - low) / span));
          return plain * (1 - stretched + stretched / factor);
        }),
        scale: by.attention_factor ?? usual,
      };
    },
  ),
};

/** Index of the pair that makes so many turns within `positions`. */
const pairOf = (turns: number, positions: number, { theta, size }: Stretched): number =>
  (size * Math.log(positions / (turns * 2 * Math.PI))) / (2 * Math.log(theta));

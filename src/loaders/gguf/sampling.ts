import type { Metadata } from './metadata.ts';

/**
 * What a GGUF file says of how its texts are generated, in the terms of generation_config.json, from which converters
 * take it; undefined where it says nothing. Its temperature comes last, as llama.cpp has it.
 */
export function samplingOf(m: Metadata): Record<string, unknown> | undefined {
  const number = (name: string): number | undefined => decimal(m.number(`${prefix}${name}`));
  const fields = {
    temperature: number('temp'),
    top_k: number('top_k'),
    top_p: number('top_p'),
    min_p: number('min_p'),
    repetition_penalty: number('penalty_repeat'),
    penalty_last_n: number('penalty_last_n'),
    ...{ xtc_probability: number('xtc_probability'), mirostat: number('mirostat') },
    sequence: m.text(`${prefix}sequence`),
  };
  if (Object.values(fields).every((value) => value === undefined)) return undefined;
  return {
    ...fields,
    // What llama.cpp looks back at where the file does not say.
    penalty_last_n: fields.penalty_last_n ?? (fields.repetition_penalty && 64),
    temperature_order: 'last',
  };
}

const prefix = 'general.sampling.';

/** A decimal that was stored as f32: 0.95, not 0.949999988. */
const decimal = (value: number | undefined): number | undefined =>
  value === undefined || value !== Math.fround(value) ? value : Number(value.toPrecision(7));

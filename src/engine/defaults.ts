import type { GenerationDefaults } from '../loaders/generation.ts';
import type { GenerateOptions } from './generate.ts';

/** What is asked for, then what the model's makers say. */
export const withDefaults = (
  defaults: GenerationDefaults,
  options: GenerateOptions,
): GenerateOptions => ({
  ...defaults.options,
  ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
});

/** Fields and their values in a line, long ones cut short. */
export const describeFields = (fields: Readonly<Record<string, unknown>>): string =>
  Object.entries(fields)
    .map(([name, value]) => [name, JSON.stringify(value)] as const)
    .map(([name, text]) => `${name} ${text.length > 40 ? `${text.slice(0, 39)}…` : text}`)
    .join(', ');

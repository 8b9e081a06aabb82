import * as z from 'zod/mini';
import { EngineError } from '../errors.ts';
import { endIds } from '../models/parts/config.ts';
import { checked } from '../schema.ts';
import type { Folder } from '../source.ts';
import { readJsonFile } from './json.ts';

/** How texts of a model are generated where nothing else is asked for: what its makers say. */
export interface GenerationDefaults {
  /** Where they say it: `generation_config.json`, or the metadata of a GGUF file. Absent: nowhere. */
  readonly source?: string;
  /** By the names that `engine.generate` has for them; a `temperature` of 0 where they do not sample. */
  readonly options: GenerationOptions;
  /** What would change texts and is not computed here: fields of the source, and their values. */
  readonly notApplied: Readonly<Record<string, unknown>>;
}

/** Those of `GenerateOptions` that makers of models have a word for. */
export interface GenerationOptions {
  /** Most ids of a text. */
  readonly maxTokens?: number;
  /** 0: the likeliest id each time. */
  readonly temperature?: number;
  /** 0 keeps all ids. */
  readonly topK?: number;
  /** Above 0, at most 1. */
  readonly topP?: number;
  /** From 0 to 1. */
  readonly minP?: number;
  /** `first` where the makers speak of transformers, `last` where they speak of llama.cpp. */
  readonly temperatureOrder?: 'first' | 'last';
  /** Above 0. */
  readonly repeatPenalty?: number;
  /** -1: the penalty looks back at all ids. */
  readonly repeatLastN?: number;
}

/** A generation configuration that was checked. */
export interface GenerationConfig {
  readonly defaults: GenerationDefaults;
  /** Ids that end a text, beside those of config.json. */
  readonly endIds: readonly number[];
}

/** Of a model whose makers say nothing. */
export const noDefaults: GenerationDefaults = { options: {}, notApplied: {} };

export const generationFile = 'generation_config.json';

/** Of a folder; undefined where it has none. Throws `BAD_CONFIG`. */
export async function readGeneration(
  folder: Folder,
  context: number,
): Promise<GenerationConfig | undefined> {
  if (!folder.files.includes(generationFile)) return undefined;
  const json = await readJsonFile(folder, generationFile, 'BAD_CONFIG');
  return parseGeneration(json, generationFile, context);
}

const share = z.number().check(z.minimum(0), z.maximum(1));
const positive = z.number().check(z.positive());

/** `penalty_last_n` and `temperature_order` are what GGUF metadata say beside transformers' fields. */
const schema = z.looseObject({
  eos_token_id: endIds,
  do_sample: z.nullish(z.boolean()),
  max_new_tokens: z.nullish(z.int().check(z.minimum(1))),
  temperature: z.nullish(z.number().check(z.minimum(0))),
  top_k: z.nullish(z.int()),
  top_p: z.nullish(positive.check(z.maximum(1))),
  min_p: z.nullish(share),
  repetition_penalty: z.nullish(positive),
  penalty_last_n: z.nullish(z.int().check(z.minimum(-1))),
  temperature_order: z.nullish(z.enum(['first', 'last'])),
});

/**
 * Read a parsed generation_config.json as transformers and vLLM do: a temperature divides logits before top-k, top-p and min-p
 * see them, a penalty of repetition looks back at all ids. `context` is the model's. Throws `BAD_CONFIG`,
 * naming every field that is wrong.
 */
export function parseGeneration(json: unknown, source: string, context: number): GenerationConfig {
  const result = checked(schema, json);
  if (!result.success) {
    const faults = result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
    throw new EngineError(
      'BAD_CONFIG',
      `${source}: ${faults.join('; ')}; expected how texts are generated; correct it or leave the file out`,
    );
  }
  const { eos_token_id, do_sample, max_new_tokens, temperature, top_k, top_p, min_p, ...rest } =
    result.data;
  const { repetition_penalty, penalty_last_n, temperature_order, ...others } = rest;
  const order = [temperature, top_p, min_p].some((value) => value != null) ? 'first' : undefined;
  const lastN = repetition_penalty == null ? undefined : -1;
  const options: { [K in keyof GenerationOptions]: GenerationOptions[K] | null | undefined } = {
    maxTokens: max_new_tokens,
    temperature: do_sample === false ? 0 : temperature,
    topK: top_k == null ? undefined : Math.max(0, top_k),
    topP: top_p,
    minP: min_p,
    temperatureOrder: temperature_order ?? order,
    repeatPenalty: repetition_penalty,
    repeatLastN: penalty_last_n ?? lastN,
  };
  return {
    endIds: eos_token_id,
    defaults: {
      source,
      options: withoutNulls(options),
      notApplied: Object.fromEntries(
        Object.entries(others).filter(
          ([name, value]) => !harmless.has(name) && !saysNothing(name, value, context),
        ),
      ),
    },
  };
}

const withoutNulls = (fields: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value != null));

/** Fields that do not change one text: of memory, speed and outputs, of beams alone, of encoders, of files. */
const harmless = new Set([
  ...['bos_token_id', 'pad_token_id', 'decoder_start_token_id', 'encoder_no_repeat_ngram_size'],
  ...['transformers_version', '_from_model_config', '_commit_hash', 'trust_remote_code'],
  ...['use_cache', 'cache_implementation', 'cache_config', 'max_cache_len', 'return_legacy_cache'],
  ...['output_attentions', 'output_hidden_states', 'output_scores', 'output_logits'],
  ...['return_dict_in_generate', 'num_return_sequences', 'renormalize_logits', 'low_memory'],
  ...['remove_invalid_values', 'length_penalty', 'early_stopping', 'compile_config'],
  ...['disable_compile', 'prefill_chunk_size', 'continuous_batching_config', 'use_mtp'],
  ...['prompt_lookup_num_tokens', 'max_matching_ngram_size', 'is_assistant'],
  ...['num_assistant_tokens', 'num_assistant_tokens_schedule', 'assistant_confidence_threshold'],
  ...['assistant_early_exit', 'assistant_lookbehind', 'target_lookbehind', 'speculation_type'],
  ...['assistant_ensemble_weight', 'xtc_threshold', 'mirostat_tau', 'mirostat_eta'],
]);

/** Values by which a field changes nothing, beside null, false and an empty list. */
const neutral: Readonly<Record<string, number>> = {
  ...{
    num_beams: 1,
    num_beam_groups: 1,
    diversity_penalty: 0,
    penalty_alpha: 0,
    guidance_scale: 1,
  },
  ...{ typical_p: 1, epsilon_cutoff: 0, eta_cutoff: 0, encoder_repetition_penalty: 1 },
  ...{ no_repeat_ngram_size: 0, min_length: 0, min_new_tokens: 0 },
  ...{ presence_penalty: 0, frequency_penalty: 0, xtc_probability: 0, mirostat: 0 },
};

function saysNothing(name: string, value: unknown, context: number): boolean {
  if (value == null || value === false || (Array.isArray(value) && value.length === 0)) return true;
  if (name === 'max_length') return typeof value === 'number' && value >= context;
  return Object.hasOwn(neutral, name) && value === neutral[name];
}

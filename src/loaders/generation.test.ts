import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { candidates } from '../engine/sampler.ts';
import { EngineError } from '../errors.ts';
import { parseGeneration } from './generation.ts';

const parse = (json: unknown) => parseGeneration(json, 'generation_config.json', 2048);
const options = (json: unknown) => parse(json).defaults.options;

describe('a generation_config.json', () => {
  it('names ids that end a text: one, several or none', () => {
    const ends = (eos_token_id?: unknown) => parse({ eos_token_id }).endIds;
    expect([ends(7), ends([128001, 128009]), ends(null), ends()]).toEqual([
      ...[[7], [128001, 128009]],
      ...[[], []],
    ]);
  });

  it('sets what it says and nothing else', () => {
    expect(options({ bos_token_id: 1, eos_token_id: 2, temperature: null })).toEqual({});
    expect(options({ do_sample: true, temperature: 0.6, top_p: 0.9, max_new_tokens: 512 })).toEqual(
      {
        ...{ temperature: 0.6, topP: 0.9, temperatureOrder: 'first', maxTokens: 512 },
      },
    );
    expect(options({ repetition_penalty: 1.05, top_k: 20 })).toEqual({
      ...{ repeatPenalty: 1.05, repeatLastN: -1, topK: 20 },
    });
    expect(options({ top_k: -1, min_p: 0 })).toEqual({
      ...{ topK: 0, minP: 0, temperatureOrder: 'first' },
    });
  });

  it('is greedy where it does not sample, whatever temperature it has', () => {
    expect(options({ do_sample: false, temperature: 0.9 }).temperature).toBe(0);
  });

  it.each([
    [{ temperature: '0.7' }, /temperature: .*number/],
    [{ temperature: -1 }, /temperature: /],
    [{ top_k: 1.5, top_p: 2 }, /top_k: .*top_p: /],
    [{ min_p: true }, /min_p: /],
    [{ repetition_penalty: 0 }, /repetition_penalty: /],
    [{ do_sample: 'yes' }, /do_sample: /],
    [{ eos_token_id: ['</s>'] }, /eos_token_id/],
    [{ max_new_tokens: 0 }, /max_new_tokens: /],
    [[], /expected object/],
  ])('of a wrong type or range is refused by name: %j', (json, message) => {
    const read = (): unknown => parse(json);
    expect(read).toThrow(EngineError);
    expect(read).toThrow(message);
    expect(read).toThrow(expect.objectContaining({ code: 'BAD_CONFIG' }));
  });

  it('is told on for what would change texts and is not computed, known or not', () => {
    const asked = {
      ...{ num_beams: 4, suppress_tokens: [1, 2], bad_words_ids: [[5]], guidance_scale: 1.5 },
      ...{ forced_eos_token_id: 2, no_repeat_ngram_size: 3, max_length: 20, of_next_year: 1 },
    };
    expect(parse({ ...asked, temperature: 0.5 }).defaults.notApplied).toEqual(asked);
  });

  it('is not told on for what changes nothing', () => {
    const quiet = {
      ...{ num_beams: 1, suppress_tokens: [], bad_words_ids: null, guidance_scale: 1 },
      ...{ no_repeat_ngram_size: 0, typical_p: 1, max_length: 2048, of_next_year: null },
      ...{ use_cache: true, transformers_version: '5.24.0', pad_token_id: 0, length_penalty: 2 },
    };
    expect(parse(quiet).defaults.notApplied).toEqual({});
  });
});

interface Case {
  readonly config: Readonly<Record<string, unknown>>;
  readonly before: number[];
  readonly logits: number[];
  readonly ids: number[];
  readonly probabilities: number[];
}
const recorded = JSON.parse(
  readFileSync(new URL('../../test/data/sampling.json', import.meta.url), 'utf8'),
) as Case[];

it.each(recorded.map((one) => [JSON.stringify(one.config), one] as const))(
  'transformers draws from the same ids as often: %s',
  (_, { config, before, logits, ...expected }) => {
    // What it takes where a configuration says nothing.
    const usual = { temperature: 1, topK: 50, topP: 1, minP: 0 };
    const asked = { ...usual, ...options(config) };
    const { ids, probabilities } = candidates(Float32Array.from(logits), before, asked);
    expect([...ids]).toEqual(expected.ids);
    expected.probabilities.forEach((share, i) => expect(probabilities[i]).toBeCloseTo(share, 5));
  },
);

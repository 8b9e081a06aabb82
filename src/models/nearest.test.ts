import { describe, expect, it } from 'vitest';
import { families, familyOf } from './index.ts';
import { nearest } from './nearest.ts';

const known = families.flatMap(({ modelTypes }) => modelTypes);

describe('the nearest names', () => {
  it.each([
    ['qwen2_moe', 'qwen2'],
    ['mixtral', 'mistral'],
    ['gpt_neo', 'gpt_neox'],
    ['GPT-NeoX', 'gpt_neox'],
    ['llama4', 'llama'],
    ['gptj', 'gpt2'],
  ])('to %s begin with %s', (name, first) => {
    expect(nearest([name], known)[0]).toBe(first);
  });

  it('are none where nothing is like it', () => {
    for (const name of ['phi3', 'gemma2', '', '…', 'x'.repeat(1e6)])
      expect(nearest([name], known), name.slice(0, 9)).toEqual([]);
  });
});

describe('an unknown family', () => {
  const message = (json: unknown): string => {
    try {
      familyOf(json, 'config.json');
    } catch (error) {
      return (error as Error).message;
    }
    return '';
  };

  it('is told with its architecture and those nearest', () => {
    expect(message({ model_type: 'qwen2_moe', architectures: ['Qwen2MoeForCausalLM'] })).toContain(
      'model_type is "qwen2_moe" (Qwen2MoeForCausalLM), which no family here reads (nearest by name: qwen2, qwen3); expected arcee, ',
    );
    // Another name of what is known: the architecture says so.
    expect(message({ model_type: 'yi', architectures: ['LlamaForCausalLM'] })).toContain(
      '(nearest by name: llama)',
    );
    expect(message({ model_type: 'phi3', architectures: 7 })).toContain(
      'model_type is "phi3", which no family here reads; expected arcee, ',
    );
  });
});

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { EngineError } from '../errors.ts';
import { createChatTemplate, readChatTemplate, type RenderOptions } from './chat-template.ts';
import { loadTokenizer } from '../../test/support/by-path.ts';

const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: ' Why? ' },
];
const render = (source: string, options?: RenderOptions): string =>
  createChatTemplate(source, { bos_token: '<s>' }, 'test').render(messages, options);

const refusal = (source: string): EngineError => {
  try {
    render(source);
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
  throw new Error('it was rendered');
};

describe('a template', () => {
  test('writes messages out as it says', () => {
    const source = [
      '{{ bos_token }}',
      '{% for message in messages %}',
      "[{{ message['role'] }}]{{ message.content | trim }}",
      '{% if loop.last and add_generation_prompt %}[assistant]{% endif %}',
      '{% endfor %}',
    ].join('\n');
    expect(render(source)).toBe('<s>\n[system]Be brief.\n[user]Why?\n[assistant]');
    expect(render(source, { addGenerationPrompt: false })).toBe(
      '<s>\n[system]Be brief.\n[user]Why?\n',
    );
  });

  test('sees tools, variables and the time', () => {
    const now = new Date(2024, 6, 4, 8, 5, 9);
    const variables = { enable_thinking: false };
    const source =
      '{% if tools is defined %}{{ tools | length }}{% else %}none{% endif %}' +
      " {{ enable_thinking }} {{ strftime_now('%d %b %Y, %H:%M:%S %%') }}";
    expect(render(source, { tools: [{}, {}], variables, now })).toBe(
      '2 False 04 Jul 2024, 08:05:09 %',
    );
    // As transformers hands them over: none is given, which is a value.
    expect(render('{{ tools }}{{ tools is none }}{{ documents }}')).toBe('NoneTrueNone');
    expect(render('{{ range(3) | join }}{{ range(5, 1, -2) | join }}')).toBe('01253');
  });

  test('may refuse a conversation', () => {
    const error = refusal("{{ raise_exception('roles must alternate') }}");
    expect(error.code).toBe('BAD_REQUEST');
    expect(error.message).toMatch(/roles must alternate/);
  });
});

test.each([
  ['is no Jinja', '{% for %}'],
  ['does not end', '{% for message in messages %}'],
  ['calls what there is not', '{{ nothing() }}'],
  [
    'asks for a range without end',
    '{% for i in range(10 ** 12) %}{% endfor %}{{ range(1000000000000) }}',
  ],
  [
    'loops without end',
    '{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}',
  ],
  ['calls itself for ever', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}'],
  [
    'doubles a text for ever',
    "{% set n = namespace(t='aaaa') %}{% for i in range(60) %}{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t }}",
  ],
])('a template that %s is refused', (_, source) => {
  expect(refusal(source).code).toBe('NO_CHAT_TEMPLATE');
});

test('the configuration names it, by itself or among others', () => {
  const read = (config: unknown): string | undefined =>
    readChatTemplate(config, 'test')?.render(messages);
  expect(read({ chat_template: '{{ eos_token }}', eos_token: { content: '</s>' } })).toBe('</s>');
  const chat_template = [
    { name: 'tool_use', template: 'tools' },
    { name: 'default', template: 'plain' },
  ];
  expect(read({ chat_template })).toBe('plain');
  const both = readChatTemplate({ chat_template }, 'test')!;
  expect(both.render(messages, { tools: [{}] })).toBe('tools');
  expect(read({ chat_template: chat_template.slice(0, 1) })).toBe('tools');
  expect(read({ chat_template: [] })).toBeUndefined();
  expect(read({ chat_template: 3 })).toBeUndefined();
  expect(read({})).toBeUndefined();
  expect(read(null)).toBeUndefined();
});

const folder = fileURLToPath(new URL('../../../shared/models/SmolLM2-135M/', import.meta.url));

describe.skipIf(!existsSync(folder))("SmolLM2's (skipped: not in ../shared/models)", () => {
  test('makes the prompt that llama.cpp was given', async () => {
    const tokenizer = (await loadTokenizer(`${folder}SmolLM2-135M-Instruct.Q4_1.gguf`))!;
    const golden = JSON.parse(readFileSync(`${folder}golden.json`, 'utf8')) as {
      cases: { special: boolean; prompt: string; prompt_ids: number[] }[];
    };
    const { prompt, prompt_ids } = golden.cases.find(({ special }) => special)!;
    const text = tokenizer.chat!.render([{ role: 'user', content: 'Why is the sky blue?' }]);
    expect(text).toBe(prompt);
    expect(tokenizer.encode(text, { special: false })).toEqual(prompt_ids);
  });
});

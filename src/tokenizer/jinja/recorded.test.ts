import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { EngineError } from '../../errors.ts';
import { createChatTemplate, type Message } from '../chat-template.ts';

/** By scripts/chat_templates.py: `text`, or the `error` that Python raises. */
interface Case {
  readonly template: string;
  readonly text?: string;
  readonly error?: string;
}

const recorded = JSON.parse(
  readFileSync(new URL('../../../test/data/chat-templates.json', import.meta.url), 'utf8'),
) as {
  readonly variables: Readonly<Record<string, unknown>> & { readonly messages: Message[] };
  readonly cases: readonly Case[];
  readonly refused: readonly Case[];
};
const { messages, ...variables } = recorded.variables;
const now = new Date(2024, 6, 4, 8, 5, 9);
const render = (template: string): string =>
  createChatTemplate(template, {}, 'test').render(messages, { variables, now });

const refusal = (template: string): unknown => {
  try {
    return render(template);
  } catch (error) {
    return error instanceof EngineError ? error.code : error;
  }
};

describe("Python's Jinja, as transformers sets it up", () => {
  const printed = recorded.cases.filter(({ text }) => text !== undefined);
  it.each(printed.map((one) => [one.template, one.text]))(
    'prints the same: %s',
    (template, text) => {
      expect(render(template)).toBe(text);
    },
  );

  const raised = recorded.cases.filter(({ error }) => error !== undefined);
  it.each(raised.map((one) => [one.template, one.error]))('refuses too: %s', (template, error) => {
    const ours = error === 'TemplateError' ? 'BAD_REQUEST' : 'NO_CHAT_TEMPLATE';
    expect(refusal(template)).toBe(ours);
  });

  it.each(recorded.refused.map(({ template }) => template))(
    'computes what is refused here, and not printed otherwise: %s',
    (template) => expect(refusal(template)).toBe('NO_CHAT_TEMPLATE'),
  );
});

it.each([
  ['{{ words | urlize }}', 'the filter urlize'],
  ['{{ words is filter }}', 'the test filter'],
  ["{{ 1 + 'a' }}", '+ between a int and a str'],
  ['{{ nobody.name }}', 'nobody is undefined'],
  ['{{ words.pop() }}', 'pop of a list'],
  ["{{ messages | map('upper') }}", 'a generator is printed'],
  ['{% set l = [words] %}{% for i in range(60) %}{% set l = [l, l] %}{% endfor %}{{ l == 1 }}', ''],
])('what is not computed is named: %s', (template, what) => {
  const message = (): string => {
    try {
      return render(template);
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect(message()).toContain(what);
});

it.each([
  "{% set n = namespace(l=['a']) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}",
  "{% set n = namespace(l=['a']) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l | tojson }}",
  "{% set n = namespace(l=['a'], m=['a']) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% set n.m = [n.m, n.m] %}{% endfor %}{{ n.l == n.m }}",
  '{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = n.l + n.l %}{% endfor %}',
  "{{ 'a' * 10 ** 12 }}",
  "{{ 'a'.center(10 ** 12) }}",
  "{{ '%999999999d' % 1 }}",
  '{{ [1] * 10 ** 9 }}',
])('what would grow for ever is stopped: %s', (template) => {
  expect(refusal(template)).toBe('NO_CHAT_TEMPLATE');
});

import * as z from 'zod/mini';
import { EngineError } from '../errors.ts';
import { expectText } from './jinja/arguments.ts';
import { evaluate } from './jinja/evaluate.ts';
import { globals } from './jinja/globals.ts';
import { strftime } from './jinja/strftime.ts';
import { type Node, parseTemplate } from './jinja/syntax.ts';
import { Callable, fromJs } from './jinja/values.ts';
import { str } from './jinja/print.ts';

/** A part of what is said, e.g. `{ type: 'text', text: 'Hello' }`; a template reads what fields it knows. */
export interface ContentPart {
  /** Its kind: `text`, `image`, or what a template knows. */
  readonly type: string;
  readonly [field: string]: unknown;
}

/** One turn of a conversation; templates may read other fields too, such as tool calls. */
export interface Message {
  /** Who says it: `system`, `user`, `assistant`, or what a template knows. */
  readonly role: string;
  /** What is said: a text, or parts where the template knows these; null where it is told by other fields. */
  readonly content: string | readonly ContentPart[] | null;
  readonly [field: string]: unknown;
}

/** How a conversation is written. */
export interface RenderOptions {
  /** End where the assistant's answer begins. Default true. */
  readonly addGenerationPrompt?: boolean;
  /** Tools the model may call, as JSON schemas. */
  readonly tools?: readonly unknown[];
  /** Other variables of the template, e.g. `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>;
  /** What `strftime_now` tells. Default: the time it is. */
  readonly now?: Date;
}

/** How a model wants conversations written: a Jinja template that came with it. */
export interface ChatTemplate {
  /**
   * The text of a conversation, special tokens included: encode it with `special: false`. Throws
   * `BAD_REQUEST` where the template refuses the messages, `NO_CHAT_TEMPLATE` where it cannot be used.
   */
  render(messages: readonly Message[], options?: RenderOptions): string;
}

/**
 * What a template may do before it is stopped: it came with a model, from anywhere, and loops and macros could go on for
 * ever. Texts and lists have limits of their own.
 */
const limits = {
  /** Statements and expressions, those of loops each time; a message takes some dozens. */
  evaluations: 200_000,
  evaluationsPerMessage: 2000,
  /** Numbers of one `range`. */
  range: 10_000,
};

const special = z.catch(
  z.nullish(
    z.union([
      z.string(),
      z.pipe(
        z.object({ content: z.string() }),
        z.transform(({ content }) => content),
      ),
    ]),
  ),
  undefined,
);
const templates = z.catch(
  z.nullish(
    z.union([
      z.pipe(
        z.string(),
        z.transform((template) => ({ usual: template, withTools: template })),
      ),
      z.pipe(
        z.array(z.object({ name: z.string(), template: z.string() })),
        z.transform((all) => {
          const of = (kind: string): string | undefined =>
            all.find(({ name }) => name === kind)?.template;
          const usual = of('default') ?? all[0]?.template;
          return usual === undefined ? undefined : { usual, withTools: of('tool_use') ?? usual };
        }),
      ),
    ]),
  ),
  undefined,
);
const settings = z.catch(
  z.looseObject({
    chat_template: templates,
    ...{ bos_token: special, eos_token: special, pad_token: special, unk_token: special },
  }),
  {},
);

/** The template that a tokenizer_config.json names; of several, as transformers does, `tool_use` where tools are given. */
export function readChatTemplate(config: unknown, where: string): ChatTemplate | undefined {
  const { chat_template: sources, ...fields } = settings.parse(config);
  if (!sources) return undefined;
  const names = ['bos_token', 'eos_token', 'pad_token', 'unk_token'] as const;
  const tokens = names.flatMap((name) => {
    const text = fields[name];
    return typeof text === 'string' ? [[name, text] as const] : [];
  });
  const make = (source: string): ChatTemplate =>
    createChatTemplate(source, Object.fromEntries(tokens), where);
  const [usual, withTools] = [make(sources.usual), make(sources.withTools)];
  return {
    render: (messages, options) => (options?.tools ? withTools : usual).render(messages, options),
  };
}

/** Make a template of its source and the special tokens it may name, e.g. `bos_token`. */
export function createChatTemplate(
  source: string,
  tokens: Readonly<Record<string, string>>,
  where: string,
): ChatTemplate {
  let program: Node | undefined;
  return {
    render(messages, { addGenerationPrompt = true, tools, variables = {}, now } = {}) {
      try {
        const given = {
          ...tokens,
          // transformers hands both over, whether they are given or not.
          ...{ tools: tools ?? null, documents: null },
          ...variables,
          messages,
          add_generation_prompt: addGenerationPrompt,
        };
        const all = {
          ...globals(limits.range),
          ...ours(now ?? new Date()),
          ...Object.fromEntries(
            Object.entries(given).map(([name, value]) => [name, fromJs(value)]),
          ),
        };
        const steps = limits.evaluations + messages.length * limits.evaluationsPerMessage;
        return evaluate((program ??= parseTemplate(source)), all, steps);
      } catch (cause) {
        throw refusal(where, cause);
      }
    },
  };
}

/** What a template refuses with `raise_exception`. */
class Raised extends Error {}

function refusal(where: string, cause: unknown): EngineError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return cause instanceof Raised
    ? new EngineError(
        'BAD_REQUEST',
        `messages: the chat template of ${where} refuses them: ${reason}; expected a conversation it takes; change the messages`,
        { cause },
      )
    : new EngineError(
        'NO_CHAT_TEMPLATE',
        `${where}: its chat template cannot be used (${reason}); expected what Python's Jinja takes and is computed here as there; write the prompt out, with its special tokens`,
        { cause },
      );
}

/** Functions that transformers adds to Jinja's. */
const ours = (now: Date): Readonly<Record<string, Callable>> => ({
  raise_exception: new Callable('raise_exception', ({ positional: [reason = ''] }) => {
    throw new Raised(str(reason));
  }),
  strftime_now: new Callable('strftime_now', ({ positional: [format = null] }) =>
    strftime(expectText('strftime_now', format), now),
  ),
});

import {
  Environment,
  Interpreter,
  parse,
  type Program,
  tokenize,
  type Value,
} from '@huggingface/jinja';
import * as z from 'zod/mini';
import { EngineError } from '../errors.ts';

/** One turn of a conversation; templates may read other fields too, such as tool calls. */
export interface Message {
  /** Who says it: `system`, `user`, `assistant`, or what a template knows. */
  readonly role: string;
  /** What is said. */
  readonly content: unknown;
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
 * What a template may do before it is stopped: it came with a model, from anywhere, and loops, macros and
 * sums of texts could go on for ever.
 */
const limits = {
  /** Statements and expressions, those of loops each time; a message takes some dozens. */
  evaluations: 200_000,
  evaluationsPerMessage: 2000,
  /** Characters of one text. */
  characters: 2 ** 24,
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
      z.string(),
      z.pipe(
        z.array(z.object({ name: z.string(), template: z.string() })),
        z.transform((all) => (all.find(({ name }) => name === 'default') ?? all[0])?.template),
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

/** The template that a tokenizer_config.json names. */
export function readChatTemplate(config: unknown, where: string): ChatTemplate | undefined {
  const { chat_template: source, ...fields } = settings.parse(config);
  if (typeof source !== 'string') return undefined;
  const names = ['bos_token', 'eos_token', 'pad_token', 'unk_token'] as const;
  const tokens = names.flatMap((name) => {
    const text = fields[name];
    return typeof text === 'string' ? [[name, text] as const] : [];
  });
  return createChatTemplate(source, Object.fromEntries(tokens), where);
}

/** Make a template of its source and the special tokens it may name, e.g. `bos_token`. */
export function createChatTemplate(
  source: string,
  tokens: Readonly<Record<string, string>>,
  where: string,
): ChatTemplate {
  let program: Program | undefined;
  const parsed = (): Program => parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
  return {
    render(messages, { addGenerationPrompt = true, tools, variables = {}, now } = {}) {
      try {
        const environment = new Environment();
        const all = {
          ...globals(now ?? new Date()),
          ...tokens,
          ...(tools && { tools }),
          ...variables,
          messages,
          add_generation_prompt: addGenerationPrompt,
        };
        for (const [name, value] of Object.entries(all)) environment.set(name, value);
        return String(
          new LimitedInterpreter(environment, messages.length).run((program ??= parsed())).value,
        );
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
        `${where}: its chat template cannot be used (${reason}); expected Jinja as chat templates have it; write the prompt out, with its special tokens`,
        { cause },
      );
}

class LimitedInterpreter extends Interpreter {
  readonly #most: number;
  #done = 0;

  constructor(environment: Environment, messages: number) {
    super(environment);
    this.#most = limits.evaluations + messages * limits.evaluationsPerMessage;
  }

  override evaluate(statement: unknown, environment: Environment): Value {
    if (++this.#done > this.#most) throw new Error(`it goes on after ${this.#most} steps`);
    const result = super.evaluate(statement, environment);
    if (typeof result.value === 'string' && result.value.length > limits.characters)
      throw new Error(`it makes a text of more than ${limits.characters} characters`);
    return result;
  }
}

const globals = (now: Date): Record<string, unknown> => ({
  ...{ true: true, True: true, false: false, False: false, none: null, None: null },
  raise_exception: (reason: unknown): never => {
    throw new Raised(String(reason));
  },
  range: (first: number, last?: number, step = 1): number[] => {
    const [from, to] = last === undefined ? [0, first] : [first, last];
    const count = Math.max(0, Math.ceil((to - from) / step));
    if (!(count <= limits.range)) throw new Error(`range: more than ${limits.range} numbers`);
    return Array.from({ length: count }, (_, i) => from + i * step);
  },
  strftime_now: (format: string): string =>
    format.replace(/%([a-zA-Z%])/g, (all, letter: string) => {
      const write = Object.hasOwn(timeFields, letter) ? timeFields[letter] : undefined;
      return write ? write(now) : all;
    }),
});

const twoDigits = (n: number): string => String(n).padStart(2, '0');
const named = (options: Intl.DateTimeFormatOptions) => (date: Date) =>
  new Intl.DateTimeFormat('en-US', options).format(date);

/** Python's names of the parts of a time. */
const timeFields: Readonly<Record<string, (date: Date) => string>> = {
  Y: (date) => String(date.getFullYear()),
  m: (date) => twoDigits(date.getMonth() + 1),
  d: (date) => twoDigits(date.getDate()),
  H: (date) => twoDigits(date.getHours()),
  M: (date) => twoDigits(date.getMinutes()),
  S: (date) => twoDigits(date.getSeconds()),
  b: named({ month: 'short' }),
  B: named({ month: 'long' }),
  a: named({ weekday: 'short' }),
  A: named({ weekday: 'long' }),
  '%': () => '%',
};

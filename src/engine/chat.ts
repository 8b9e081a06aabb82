import { EngineError } from '../errors.ts';
import { whereIs } from '../loaders/names.ts';
import type { KVPolicy } from '../kv.ts';
import { mostKept } from '../kv/parts/layout.ts';
import type { ModelFiles } from '../source.ts';
import type { ChatTemplate, Message } from '../tokenizer/index.ts';
import type { GenerateOptions, GenerateResult, OpenModel, Start } from './generate.ts';
import { Generation } from './generation.ts';
import type { Session } from './session.ts';
import { turnEnd } from './turn-end.ts';

/** What a conversation needs of a model that is open; an `Engine` is one. */
export interface TalkingModel extends OpenModel {
  /** What it was read from. */
  readonly files: ModelFiles;
  /** What caches keep. */
  readonly policy: KVPolicy;
  /** Tokens a text may have, and tokens the model sees at once. */
  readonly context: number;
  /** Tokens the model sees at once. */
  readonly span: number;
}

/** How a conversation begins. */
export interface ChatOptions {
  /** What the model is told before the conversation. Default: what its template says by itself. */
  readonly system?: string;
  /** A Jinja template. Default: the model's own. */
  readonly template?: string;
  /** What errors call that template, e.g. its file. Default `template`. */
  readonly templateName?: string;
}

/** One reply: a generation, and what it made of the conversation. `promptIds` are the whole of it. */
export interface ChatResult extends GenerateResult {
  /** The conversation with this reply; without this turn where it was aborted before it began. */
  readonly messages: readonly Message[];
  /** Ids of the prompt that were in the cache already; the others were prefilled. */
  readonly reusedTokens: number;
  /** Messages that are no longer read since the conversation outgrew the context. */
  readonly droppedMessages: number;
}

/** What a conversation came to so far, replies that were taken back included. */
export interface ChatStats {
  /** How many were begun. */
  readonly replies: number;
  /** Of all replies. */
  readonly generatedTokens: number;
  /** Of all prompts, without what was in the cache. */
  readonly prefilledTokens: number;
  /** Of all prompts, what was in the cache already. */
  readonly reusedTokens: number;
  /** Time of all decode steps. */
  readonly decodeSeconds: number;
  /** Tokens in the cache. */
  readonly cachedTokens: number;
  /** The most tokens that stay in the cache. */
  readonly cacheTokens: number;
  /** Tokens the conversation may have; Infinity where it has no end. */
  readonly context: number;
  /** That are no longer read since the conversation outgrew the context. */
  readonly droppedMessages: number;
}

/**
 * A conversation whose turns share one cache: of each prompt only what follows the ids that the cache
 * holds already is prefilled. What a sparse reply put there stays as its steps computed it.
 *
 * A conversation that would leave a reply too little room loses its oldest turns from what the model
 * reads, never the system message, until half of the context is free; `messages` keeps them. Where the KV
 * policy lets texts go on without end, none is lost so: the policy alone decides what the model still sees.
 * One reply at a time.
 */
export class Chat implements Disposable {
  readonly #model: TalkingModel;
  readonly #template: ChatTemplate;
  readonly #ends: ReturnType<typeof turnEnd>;
  readonly #session: Session;
  #system: string | undefined;
  /** Without the system message. */
  #messages: readonly Message[] = [];
  /** Messages at the beginning that are no longer read. */
  #dropped = 0;
  #busy = false;
  #totals = {
    ...{ replies: 0, generatedTokens: 0, prefilledTokens: 0, reusedTokens: 0 },
    decodeSeconds: 0,
  };

  constructor(
    model: TalkingModel,
    { system, template, templateName = 'template' }: ChatOptions = {},
  ) {
    const { tokenizer } = model;
    const own = template === undefined ? tokenizer.chat : undefined;
    const chosen = own ?? (template && tokenizer.chatTemplate(template, templateName));
    if (!chosen)
      throw new EngineError(
        'NO_CHAT_TEMPLATE',
        `${whereIs(model.files)}: it came without a chat template, expected one in tokenizer_config.json or chat_template.jinja; continue texts with \`generate\`, or give a template with \`template\``,
      );
    this.#model = model;
    this.#template = chosen;
    this.#ends = turnEnd(chosen, tokenizer);
    this.#system = system;
    this.#session = model.session();
  }

  /** All there is of the conversation, the system message first. */
  get messages(): readonly Message[] {
    return [...this.#head(), ...this.#messages];
  }

  get system(): string | undefined {
    return this.#system;
  }

  /** Say something else before the conversation, or nothing. */
  set system(text: string | undefined) {
    this.#expectIdle();
    this.#system = text;
  }

  /** What the conversation came to so far. */
  get stats(): ChatStats {
    const { context, span, policy } = this.#model;
    return {
      ...this.#totals,
      cachedTokens: this.#session.kept,
      cacheTokens: Math.min(context, mostKept(policy)),
      context: context > span ? Infinity : context,
      droppedMessages: this.#dropped,
    };
  }

  /**
   * Say something; the reply streams. It ends where the turn does, unless `maxTokens` (default: what the model's makers
   * say, else what the model sees at once) or a stop text comes first. Replies of one conversation have the seeds `seed`, `seed` + 1, …
   */
  send(content: string, options: GenerateOptions = {}): Generation<ChatResult> {
    return this.#reply(() => [...this.#messages, { role: 'user', content }], options);
  }

  /** Take the latest reply back and ask for another. Throws `BAD_REQUEST` where there is none. */
  retry(options: GenerateOptions = {}): Generation<ChatResult> {
    this.#lastTurn();
    return this.#reply(() => this.#messages.slice(0, this.#lastTurn() + 1), options);
  }

  /** Take the latest turn back, question and reply. Throws `BAD_REQUEST` where there is none. */
  undo(): void {
    this.#expectIdle();
    this.#messages = this.#messages.slice(0, this.#lastTurn());
    this.#dropped = Math.min(this.#dropped, this.#messages.length);
  }

  /** Forget the conversation, and keep the system message. */
  reset(): void {
    this.load(this.#head());
  }

  /** Go on from another conversation; a system message that comes first replaces this one. */
  load(messages: readonly Message[]): void {
    this.#expectIdle();
    const [first, ...others] = messages;
    const leads = first?.role === 'system';
    this.#system = leads ? textOf(first.content) : undefined;
    this.#messages = leads ? others : messages.slice();
    this.#dropped = 0;
  }

  [Symbol.dispose](): void {
    this.#session[Symbol.dispose]();
  }

  #head(): readonly Message[] {
    return this.#system === undefined ? [] : [{ role: 'system', content: this.#system }];
  }

  /** Where the latest turn begins. */
  #lastTurn(): number {
    const at = this.#messages.findLastIndex(({ role }) => role === 'user');
    if (at >= 0) return at;
    throw new EngineError(
      'BAD_REQUEST',
      'chat: the conversation has no turn, expected one to take back; send something first',
    );
  }

  #expectIdle(): void {
    if (!this.#busy) return;
    throw new EngineError(
      'BAD_REQUEST',
      'chat: a reply is under way, expected one at a time; await it or abort it first',
    );
  }

  #reply(asked: () => readonly Message[], options: GenerateOptions): Generation<ChatResult> {
    const { defaults, span } = this.#model;
    const { maxTokens = defaults.options.maxTokens ?? span, seed = 0, stop = [] } = options;
    let messages: readonly Message[] = [];
    let cached = 0;
    const start: Start<ChatResult> = {
      begin: () => {
        this.#expectIdle();
        messages = asked();
        const promptIds = this.#fit(messages, maxTokens);
        cached = this.#session.reuse(promptIds);
        this.#busy = true;
        return { promptIds, session: this.#session, cached, endIds: this.#ends.ids };
      },
      end: (result, failed) => this.#end(messages, cached, result, failed),
    };
    return new Generation(this.#model, start, {
      ...options,
      maxTokens,
      seed: seed + this.#totals.replies,
      stop: [...stop, ...this.#ends.texts],
    });
  }

  #end(
    asked: readonly Message[],
    reusedTokens: number,
    result: GenerateResult,
    failed: boolean,
  ): ChatResult {
    const { promptIds, ids, text, finishReason, timing } = result;
    this.#busy = false;
    const totals = this.#totals;
    this.#totals = {
      replies: totals.replies + 1,
      generatedTokens: totals.generatedTokens + ids.length,
      prefilledTokens: totals.prefilledTokens + promptIds.length - reusedTokens,
      reusedTokens: totals.reusedTokens + reusedTokens,
      decodeSeconds: totals.decodeSeconds + timing.decodeSeconds,
    };
    if (!failed && !(finishReason === 'abort' && ids.length === 0))
      this.#messages = [...asked, { role: 'assistant', content: text }];
    return { ...result, messages: this.messages, reusedTokens, droppedMessages: this.#dropped };
  }

  /** Ids of a conversation, its oldest turns left out where it is too long for a reply to follow. */
  #fit(messages: readonly Message[], maxTokens: number): Int32Array {
    const { context } = this.#model;
    const room = Math.min(maxTokens, Math.floor(context / 4));
    const latest = messages.findLastIndex(({ role }) => role === 'user');
    let dropped = Math.min(this.#dropped, Math.max(0, latest));
    let ids = this.#encode(messages.slice(dropped));
    if (ids.length + room > context)
      while (ids.length > context / 2) {
        const next = messages.findIndex(({ role }, at) => at > dropped && role === 'user');
        if (next < 0) break;
        dropped = next;
        ids = this.#encode(messages.slice(dropped));
      }
    const checked = this.#model.encode(ids);
    this.#dropped = dropped;
    return checked;
  }

  #encode(messages: readonly Message[]): number[] {
    const text = this.#template.render([...this.#head(), ...messages]);
    return this.#model.tokenizer.encode(text, { special: false });
  }
}

/** What a system message says. Throws `BAD_REQUEST` where a part of it is no text. */
function textOf(content: Message['content']): string {
  if (typeof content === 'string') return content;
  const texts = (content ?? []).map(({ type, text }) => {
    if (type === 'text' && typeof text === 'string') return text;
    throw new EngineError(
      'BAD_REQUEST',
      `chat: the system message has a part of type ${JSON.stringify(type)}, expected text; leave it out`,
    );
  });
  return texts.join('');
}

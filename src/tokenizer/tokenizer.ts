import { EngineError } from '../errors.ts';
import { type ChatTemplate, readChatTemplate } from './chat-template.ts';
import { makePipeline, type Pipeline } from './pipeline.ts';

/** Text to ids and back, as the checkpoint's own tokenizer does it. */
export interface Tokenizer {
  /**
   * Ids of a text, with the special tokens that the checkpoint's post-processor adds and no others;
   * with `special: false` without these (a BOS). Special tokens written out in the text become their
   * ids. Throws `BAD_TEXT`.
   */
  encode(text: string, options?: { special?: boolean }): number[];
  /**
   * Text of ids. Special tokens are left out, unless `special`; ids beyond the vocabulary are too.
   * Spaces before punctuation stay: what the ids say is what is returned.
   */
  decode(ids: readonly number[], options?: { special?: boolean }): string;
  /** How conversations are written; undefined where the model says nothing of it. */
  readonly chat: ChatTemplate | undefined;
  /** Another template, with this tokenizer's special tokens. */
  chatTemplate(source: string, where: string): ChatTemplate;
  /** Decode ids as they come. */
  stream(options?: { special?: boolean }): DecodeStream;
}

/**
 * Its texts, one after another, are what `decode` makes of all ids; none ends within a character. Where bytes break off,
 * those before them that were told stay: `decode` takes back the whole run that ids of bytes make.
 */
export interface DecodeStream {
  /** The text that is certain since this id; often empty, when a character spans ids. */
  push(id: number): string;
  /** What is left when no id follows. */
  end(): string;
}

/** Make a tokenizer of a parsed tokenizer.json and tokenizer_config.json. Throws `NO_TOKENIZER`. */
export function createTokenizer(json: unknown, config: unknown, where: string): Tokenizer {
  let pipeline: Pipeline;
  try {
    pipeline = makePipeline(json);
  } catch (cause) {
    throw new EngineError(
      'NO_TOKENIZER',
      `${where}: cannot be used (${cause instanceof Error ? cause.message : String(cause)}); expected a Hugging Face tokenizer; fetch it again, or pass token ids (\`Prompt\`)`,
      { cause },
    );
  }
  return {
    encode(text, { special = true } = {}) {
      const broken = text.search(/\p{Surrogate}/u);
      if (broken >= 0)
        throw new EngineError(
          'BAD_TEXT',
          `text: half a surrogate pair at ${broken}; expected Unicode that UTF-8 can hold; correct the text`,
        );
      return pipeline.encode(text, special).map((id) => {
        if (typeof id === 'number') return id;
        throw new EngineError(
          'BAD_TEXT',
          `text: ${JSON.stringify(id)} is in no token of ${where}; expected text its vocabulary covers; remove it`,
        );
      });
    },
    decode: (ids, options) => pipeline.decode(ids, options?.special ?? false),
    chat: readChatTemplate(config, where),
    chatTemplate: (source, name) =>
      readChatTemplate({ ...(config as object), chat_template: source }, name)!,
    stream: (options) =>
      streamOf((ids) => pipeline.decode(ids, options?.special ?? false, 'alone')),
  };
}

/**
 * Decodes a window of ids that starts a little before the new ones, since what an id adds may depend
 * on its neighbours. A window that ends within a character ends in U+FFFD and is held back.
 */
function streamOf(decode: (ids: readonly number[]) => string): DecodeStream {
  let window: number[] = [];
  /** Ids of the window whose text is out, and that text. */
  let told = 0;
  let before = '';
  const advance = (text: string): string => {
    const added = text.slice(before.length);
    window = window.slice(told);
    told = window.length;
    before = decode(window);
    return added;
  };
  return {
    push(id) {
      window.push(id);
      const text = decode(window);
      return text.length > before.length && !text.endsWith('\ufffd') ? advance(text) : '';
    },
    end: () => advance(decode(window)),
  };
}

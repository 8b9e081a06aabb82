import * as z from 'zod/mini';
import { byteOfCharacter } from './bytes.ts';
import { type Component, component, makeOf } from './component.ts';
import { pattern, replaced } from './patterns.ts';

/** Makes texts of tokens; put together they are the whole. */
export type Decoder = (tokens: readonly string[]) => string[];

const each =
  (decode: (token: string, i: number, of: number) => string): Decoder =>
  (tokens) =>
    tokens.map((token, i) => decode(token, i, tokens.length));

/** Spaces that tokenizers put before punctuation go, and within contractions. */
const cleanUp = (text: string): string =>
  [' .', ' ?', ' !', ' ,']
    .reduce((t, mark) => t.replaceAll(mark, mark[1]), text)
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m")
    .replaceAll(' do not', " don't")
    .replaceAll(" 's", "'s")
    .replaceAll(" 've", "'ve")
    .replaceAll(" 're", "'re");

const flag = z.boolean();
const count = z.int().check(z.minimum(0));
const character = z
  .string()
  .check(z.refine((text) => Array.from(text).length === 1, 'one character'));

/** Every decoder of tokenizer.json. */
const decoders = (broken: Broken): Readonly<Record<string, Component<Decoder>>> => ({
  BPEDecoder: component({ suffix: z._default(z.string(), '</w>') }, ({ suffix }) =>
    each((token, i, n) => token.replaceAll(suffix, i === n - 1 ? '' : ' ')),
  ),
  ByteFallback: component({}, () => (tokens) => fromBytes(tokens, broken)),
  ByteLevel: component({}, () => (tokens) => {
    const bytes = tokens.flatMap((token) => {
      const known = Array.from(token, (c) => byteOfCharacter.get(c));
      return known.every((byte) => byte !== undefined)
        ? known
        : Array.from(new TextEncoder().encode(token));
    });
    return [text(bytes)];
  }),
  CTC: component(
    {
      pad_token: z._default(z.string(), '<pad>'),
      word_delimiter_token: z._default(z.string(), '|'),
      cleanup: z._default(flag, true),
    },
    ({ pad_token, word_delimiter_token, cleanup }) =>
      (tokens) =>
        tokens
          .filter((token, i) => token !== tokens[i - 1])
          .map((token) => {
            const kept = token.replaceAll(pad_token, '');
            return cleanup ? cleanUp(kept).replaceAll(word_delimiter_token, ' ') : kept;
          })
          .filter((token) => token !== ''),
  ),
  Fuse: component({}, () => (tokens) => [tokens.join('')]),
  Metaspace: component(
    {
      replacement: z._default(character, '▁'),
      prepend_scheme: z.optional(z.enum(['always', 'first', 'never'])),
      add_prefix_space: z.optional(flag),
    },
    ({ replacement, prepend_scheme, add_prefix_space = true }) => {
      const scheme = prepend_scheme ?? (add_prefix_space ? 'always' : 'never');
      return each((token, i) =>
        token.replaceAll(replacement, i === 0 && scheme !== 'never' ? '' : ' '),
      );
    },
  ),
  Replace: component({ pattern, content: z.string() }, ({ pattern, content }) =>
    each((token) => replaced(token, pattern, content)),
  ),
  Sequence: component({ decoders: z.array(z.unknown()) }, (fields) => {
    const steps = fields.decoders.map((json) => makeDecoder(json, broken)!);
    return (tokens) => steps.reduce<string[]>((before, step) => step(before), [...tokens]);
  }),
  Strip: component({ content: character, start: count, stop: count }, (fields) => {
    const { content, start, stop } = fields;
    return each((token) => {
      const characters = Array.from(token);
      let from = 0;
      while (from < Math.min(start, characters.length) && characters[from] === content) from++;
      let to = characters.length;
      while (characters.length - to < stop && to > 0 && characters[to - 1] === content) to--;
      return characters.slice(from, Math.max(from, to)).join('');
    });
  }),
  WordPiece: component(
    { prefix: z._default(z.string(), '##'), cleanup: z._default(flag, true) },
    ({ prefix, cleanup }) =>
      each((token, i) => {
        const joined =
          i === 0 ? token : token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`;
        return cleanup ? cleanUp(joined) : joined;
      }),
  ),
});

/**
 * Of bytes that spell no text: a mark for each of the run they lie in, as Hugging Face has it, or, where text is told as it
 * comes, for those alone that are wrong.
 */
export type Broken = 'whole run' | 'alone';

export const makeDecoder = (json: unknown, broken: Broken): Decoder | undefined =>
  makeOf('decoder', decoders(broken), json);

const named = /^<0x([0-9A-Fa-f]{2})>$/;

/** Tokens that name bytes become the text of these bytes. */
function fromBytes(tokens: readonly string[], broken: Broken): string[] {
  const texts: string[] = [];
  let bytes: number[] = [];
  const end = (): void => {
    if (bytes.length === 0) return;
    const told = text(bytes);
    const isBroken = broken === 'whole run' && told.includes('\ufffd') && !isText(bytes);
    texts.push(...(isBroken ? bytes.map(() => '\ufffd') : [told]));
    bytes = [];
  };
  for (const token of tokens) {
    const byte = named.exec(token)?.[1];
    if (byte !== undefined) bytes.push(parseInt(byte, 16));
    else {
      end();
      texts.push(token);
    }
  }
  end();
  return texts;
}

/** Bytes as UTF-8, what is none as U+FFFD; U+FEFF is a character like any other. */
const text = (bytes: readonly number[]): string =>
  new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes));

const isText = (bytes: readonly number[]): boolean => {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(bytes));
    return true;
  } catch {
    return false;
  }
};

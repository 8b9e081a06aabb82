import * as z from 'zod/mini';
import { space, word } from './patterns.ts';

const flag = z._default(z.boolean(), false);

/** Tokens that a text is divided by before anything else happens to it. */
export const addedTokens = z.array(
  z.object({
    id: z.int().check(z.minimum(0)),
    content: z.string(),
    /** It is no part of a longer word. */
    single_word: flag,
    /** It takes the spaces before it, and after it. */
    lstrip: flag,
    rstrip: flag,
    /** It is looked for in the text as the normalizer leaves it. */
    normalized: flag,
    special: flag,
  }),
);
export type AddedToken = z.output<typeof addedTokens>[number];

/** A part of a text: a token that stands in it, or what lies between two, which begins at `start`. */
export type Section =
  | { readonly token: AddedToken }
  | { readonly token?: undefined; readonly text: string; readonly start: number };

const [endsInWord, beginsInWord] = [new RegExp(`${word}$`, 'u'), new RegExp(`^${word}`, 'u')];
const [spacesBefore, spacesAfter] = [new RegExp(`${space}*$`, 'u'), new RegExp(`^${space}*`, 'u')];

/** Divides texts by tokens: the leftmost, of those the longest. */
export class TokenFinder {
  readonly #byContent = new Map<string, AddedToken>();
  /** Lengths of contents that begin with a code unit, descending. */
  readonly #lengths = new Map<string, number[]>();

  constructor(tokens: readonly AddedToken[], normalize: (text: string) => string = (text) => text) {
    for (const token of tokens) {
      const content = normalize(token.content);
      if (content === '') continue;
      const like = this.#byContent.get(content);
      if (like)
        throw new Error(
          `its added tokens ${like.id} and ${token.id} are one text once normalized, ${JSON.stringify(content)}`,
        );
      this.#byContent.set(content, token);
      const lengths = this.#lengths.get(content[0]) ?? [];
      if (!lengths.includes(content.length)) lengths.push(content.length);
      this.#lengths.set(
        content[0],
        lengths.sort((a, b) => b - a),
      );
    }
  }

  /** The sections of a text, in order. */
  divide(text: string): Section[] {
    const sections: Section[] = [];
    let done = 0;
    const upTo = (end: number): void => {
      if (end > done) sections.push({ text: text.slice(done, end), start: done });
    };
    for (let at = 0; at < text.length;) {
      const content = this.#at(text, at);
      if (content === undefined) {
        at++;
        continue;
      }
      const token = this.#byContent.get(content)!;
      const [start, stop] = [at, at + content.length];
      at = stop;
      if (token.single_word && !isAlone(text, start, stop)) continue;
      const end = token.rstrip ? stop + spacesAfter.exec(text.slice(stop))![0].length : stop;
      const before = token.lstrip ? spacesBefore.exec(text.slice(0, start))!.index : start;
      const begin = token.lstrip ? Math.max(before, done) : start;
      upTo(begin);
      // What the token before took is gone where this one looks for spaces itself; else both have it.
      if (begin < end) sections.push({ token });
      done = end;
    }
    upTo(text.length);
    return sections;
  }

  #at(text: string, at: number): string | undefined {
    for (const length of this.#lengths.get(text[at]) ?? []) {
      const content = text.slice(at, at + length);
      if (this.#byContent.has(content)) return content;
    }
    return undefined;
  }
}

const isAlone = (text: string, start: number, stop: number): boolean =>
  !endsInWord.test(text.slice(0, start)) && !beginsInWord.test(text.slice(stop));

import { toRegExp } from 'oniguruma-to-es';
import * as z from 'zod/mini';

/** Unicode's White_Space, as Rust and Oniguruma have `\s`; JavaScript's has U+FEFF and lacks U+0085. */
export const space = '\\p{White_Space}';

/** `\w` of Rust's regular expressions. */
export const word = '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]';

/** A pattern of tokenizer.json: a text as it is, or a regular expression of Oniguruma. */
export const pattern = z.pipe(
  z.union([z.object({ String: z.string() }), z.object({ Regex: z.string() })]),
  z.transform((given) =>
    'String' in given
      ? new RegExp(given.String.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'), 'gu')
      : compile(given.Regex),
  ),
);

/**
 * The same pattern for JavaScript: other classes of characters, `^` and `$` of lines, possessive repeats.
 * Throws for what cannot be said in it.
 */
function compile(source: string): RegExp {
  return toRegExp(unicodeWords(source), { global: true, accuracy: 'strict' });
}

/**
 * `\w` as Oniguruma has it: of numbers that are no digits none within brackets, outside those of Latin-1. The translation
 * has it by Oniguruma's documentation, by which they all are words.
 */
const words = { alone: '[[:word:]²³¹¼½¾]', inBrackets: '[[:word:]]' };

function unicodeWords(source: string): string {
  let depth = 0;
  return source.replace(/\\[^]|[[\]]/g, (found) => {
    if (found === '[') depth++;
    else if (found === ']') depth = Math.max(0, depth - 1);
    const word = depth > 0 ? words.inBrackets : words.alone;
    const none = `[^${word.slice(1)}`;
    if (found === '\\w') return word;
    if (found === '\\W') return none;
    if (depth > 0) return found;
    if (found === '\\b') return `(?:(?<=${word})(?!${word})|(?<!${word})(?=${word}))`;
    if (found === '\\B') return `(?:(?<=${word})(?=${word})|(?<!${word})(?!${word}))`;
    return found;
  });
}

/** What is a match and what lies between two, in order; together they are the text. */
export interface Part {
  readonly text: string;
  readonly match: boolean;
}

/** Divide a text by a pattern. A match may be empty, and then divides what lies around it, but none follows another. */
export function partsOf(text: string, by: RegExp): Part[] {
  const parts: Part[] = [];
  if (text === '') return parts;
  let end = 0;
  for (const { index, 0: found } of text.matchAll(by)) {
    if (found === '' && index === end && parts.length) continue;
    if (index > end) parts.push({ text: text.slice(end, index), match: false });
    parts.push({ text: found, match: true });
    end = index + found.length;
  }
  if (end < text.length) parts.push({ text: text.slice(end), match: false });
  return parts;
}

/** A text with what matches replaced. */
export const replaced = (text: string, by: RegExp, content: string): string =>
  partsOf(text, by)
    .map((part) => (part.match ? content : part.text))
    .join('');

/** Divide a text into runs of characters for which `is` answers the same; each match is one character. */
export function charactersOf(text: string, is: (character: string) => boolean): Part[] {
  const parts: Part[] = [];
  let between = '';
  for (const character of text) {
    if (!is(character)) {
      between += character;
      continue;
    }
    if (between) parts.push({ text: between, match: false });
    between = '';
    parts.push({ text: character, match: true });
  }
  if (between) parts.push({ text: between, match: false });
  return parts;
}

export const behaviors = [
  'Removed',
  'Isolated',
  'MergedWithPrevious',
  'MergedWithNext',
  'Contiguous',
] as const;
export type Behavior = (typeof behaviors)[number];

/** What becomes of matches: pieces of the text, undefined where one is left out. */
export function arrange(parts: readonly Part[], behavior: Behavior): (string | undefined)[] {
  switch (behavior) {
    case 'Isolated':
      return parts.map(({ text }) => text);
    case 'Removed':
      return parts.map(({ text, match }) => (match ? undefined : text));
    case 'Contiguous':
      return joined(parts, (last, next) => last.match === next.match);
    case 'MergedWithPrevious':
      return joined(parts, (last, next) => next.match && !last.match);
    case 'MergedWithNext':
      return joined(parts, (last, next) => last.match && !next.match);
  }
}

/** Parts put together where `joins` says so of two neighbours. */
function joined(parts: readonly Part[], joins: (last: Part, next: Part) => boolean): string[] {
  const pieces: string[] = [];
  parts.forEach((part, i) => {
    if (i > 0 && joins(parts[i - 1], part)) pieces[pieces.length - 1] += part.text;
    else pieces.push(part.text);
  });
  return pieces;
}

import * as z from 'zod/mini';
import { spellBytes } from './bytes.ts';
import { type Component, component, makeOf } from './component.ts';
import {
  arrange,
  type Behavior,
  behaviors,
  charactersOf,
  type Part,
  partsOf,
  pattern,
  space,
  word,
} from './patterns.ts';

/** A part of a text that becomes tokens by itself. */
export interface Piece {
  /** What became certain with it; may be empty. */
  readonly text: string;
  /** It begins where the whole text does. */
  readonly first: boolean;
}

/** Divides a piece further, or changes it. */
export type PreTokenizer = (piece: Piece) => Piece[];

/** Pieces of a text, those that are left out or empty gone; only what begins with the text can be its first. */
const piecesOf = (texts: readonly (string | undefined)[], { first }: Piece): Piece[] =>
  texts.flatMap((text, i) => (text ? [{ text, first: first && i === 0 }] : []));

const dividing =
  (divide: (text: string) => readonly Part[], behavior: Behavior): PreTokenizer =>
  (piece) =>
    piecesOf(arrange(divide(piece.text), behavior), piece);

const byCharacter = (is: RegExp, behavior: Behavior): PreTokenizer =>
  dividing((text) => charactersOf(text, (character) => is.test(character)), behavior);

const spaces = new RegExp(`^${space}$`, 'u');
/** ASCII's, and Unicode's of the older table that Rust's crate has: not what later versions added. */
const punctuation =
  /^(?![\u061d\u09fd\u0a76\u0c77\u0c84\u1b4e\u1b4f\u1b7d-\u1b7f\u2e43-\u2e4f\u2e52-\u2e5d\u{10d6e}\u{10ead}\u{10ed0}\u{10f55}-\u{10f59}\u{10f86}-\u{10f89}\u{113d4}\u{113d5}\u{113d7}\u{113d8}\u{1144b}-\u{1144f}\u{1145a}\u{1145b}\u{1145d}\u{11660}-\u{1166c}\u{116b9}\u{1183b}\u{11944}-\u{11946}\u{119e2}\u{11a3f}-\u{11a46}\u{11a9a}-\u{11a9c}\u{11a9e}-\u{11aa2}\u{11b00}-\u{11b09}\u{11be1}\u{11c41}-\u{11c45}\u{11c70}\u{11c71}\u{11ef7}\u{11ef8}\u{11f43}-\u{11f4f}\u{11fff}\u{12ff1}\u{12ff2}\u{16d6d}-\u{16d6f}\u{16e97}-\u{16e9a}\u{16fe2}\u{1e5ff}\u{1e95e}\u{1e95f}])[\p{P}\u166d\u{111c9}!-/:-@[-`{-~]$/u;
const numeric = /^\p{N}$/u;

/** GPT-2's words. */
const words = new RegExp(
  `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${space}\\p{L}\\p{N}]+|${space}+(?!\\P{White_Space})|${space}+`,
  'gu',
);

const flag = z.boolean();
const character = z
  .string()
  .check(z.refine((text) => Array.from(text).length === 1, 'one character'));

/** Every pre-tokenizer of tokenizer.json but UnicodeScripts, whose table of scripts is an old one. */
const preTokenizers: Readonly<Record<string, Component<PreTokenizer>>> = {
  BertPreTokenizer: component({}, () => {
    const [atSpaces, atMarks] = [
      byCharacter(spaces, 'Removed'),
      byCharacter(punctuation, 'Isolated'),
    ];
    return (piece) => atSpaces(piece).flatMap(atMarks);
  }),
  ByteLevel: component(
    { add_prefix_space: z._default(flag, true), use_regex: z._default(flag, true) },
    ({ add_prefix_space, use_regex }) =>
      (piece) => {
        const text =
          add_prefix_space && !piece.text.startsWith(' ') ? ` ${piece.text}` : piece.text;
        const parts = use_regex ? partsOf(text, words).map((part) => part.text) : [text];
        return piecesOf(parts.map(spellBytes), piece);
      },
  ),
  CharDelimiterSplit: component({ delimiter: character }, ({ delimiter }) =>
    dividing((text) => charactersOf(text, (c) => c === delimiter), 'Removed'),
  ),
  Digits: component({ individual_digits: flag }, ({ individual_digits }) =>
    byCharacter(numeric, individual_digits ? 'Isolated' : 'Contiguous'),
  ),
  FixedLength: component(
    { length: z._default(z.int().check(z.minimum(1)), 5) },
    ({ length }) =>
      (piece) => {
        const characters = Array.from(piece.text);
        const parts: string[] = [];
        for (let i = 0; i < characters.length; i += length)
          parts.push(characters.slice(i, i + length).join(''));
        return piecesOf(parts, piece);
      },
  ),
  Metaspace: component(
    {
      replacement: z._default(character, '▁'),
      prepend_scheme: z.optional(z.enum(['always', 'first', 'never'])),
      add_prefix_space: z.optional(flag),
      split: z._default(flag, true),
    },
    ({ replacement, prepend_scheme, add_prefix_space = true, split }) => {
      const scheme = prepend_scheme ?? (add_prefix_space ? 'always' : 'never');
      return (piece) => {
        const prepends = scheme === 'always' || (scheme === 'first' && piece.first);
        const marked = piece.text.replaceAll(' ', replacement);
        const text = prepends && !marked.startsWith(replacement) ? replacement + marked : marked;
        const isMark = (c: string): boolean => c === replacement;
        return piecesOf(
          split ? arrange(charactersOf(text, isMark), 'MergedWithNext') : [text],
          piece,
        );
      };
    },
  ),
  Punctuation: component({ behavior: z._default(z.enum(behaviors), 'Isolated') }, ({ behavior }) =>
    byCharacter(punctuation, behavior),
  ),
  Sequence: component({ pretokenizers: z.array(z.unknown()) }, ({ pretokenizers }) => {
    const kinds = pretokenizers.map((json) => Object(json) as Record<string, unknown>);
    const spells = kinds.findIndex(({ type }) => type === 'ByteLevel');
    const first = kinds.findLastIndex(({ prepend_scheme }) => prepend_scheme === 'first');
    // Which piece is the first is then a matter of bytes, of which a character's may be apart.
    if (spells >= 0 && first > spells)
      throw new Error('its Metaspace puts a space before the first piece after ByteLevel');
    const steps = pretokenizers.map((json) => makePreTokenizer(json)!);
    return (piece) => steps.reduce((pieces, step) => pieces.flatMap(step), [piece]);
  }),
  Split: component(
    { pattern, behavior: z.enum(behaviors), invert: z._default(flag, false) },
    ({ pattern, behavior, invert }) =>
      dividing((text) => {
        const parts = partsOf(text, pattern);
        return invert ? parts.map((part) => ({ ...part, match: !part.match })) : parts;
      }, behavior),
  ),
  Whitespace: component({}, () => {
    const inner = new RegExp(`${word}+|(?:(?!${word})\\P{White_Space})+`, 'gu');
    return (piece) =>
      piecesOf(
        partsOf(piece.text, inner).map(({ text, match }) => (match ? text : undefined)),
        piece,
      );
  }),
  WhitespaceSplit: component({}, () => byCharacter(spaces, 'Removed')),
};

export const makePreTokenizer = (json: unknown): PreTokenizer | undefined =>
  makeOf('pre-tokenizer', preTokenizers, json);

import * as z from 'zod/mini';
import { spellBytes } from './bytes.ts';
import { type Component, component, makeOf } from './component.ts';
import { partsOf, pattern, replaced, space } from './patterns.ts';

/** A text on its way, and whether it still begins where the one that was given did. */
export interface Normal {
  readonly text: string;
  readonly begins: boolean;
}

/** Changes a text before it is divided. */
export type Normalizer = (text: Normal) => Normal;

const changing =
  (change: (text: string) => string): Normalizer =>
  ({ text, begins }) => ({ text: change(text), begins });

/** Replaces what matches; a beginning that becomes nothing is none. */
const replacing =
  (by: RegExp, content: string): Normalizer =>
  ({ text, begins }) => {
    const [head] = partsOf(text, by);
    const goes = content === '' && head?.match && head.text !== '';
    return { text: replaced(text, by, content), begins: begins && !goes };
  };

const form = (name: 'NFC' | 'NFD' | 'NFKC' | 'NFKD'): Component<Normalizer> =>
  component({}, () => changing((text) => text.normalize(name)));

const left = replacing(new RegExp(`^${space}+`, 'gu'), '');
const right = replacing(new RegExp(`${space}+$`, 'gu'), '');
const same: Normalizer = (text) => text;
const sequence =
  (steps: readonly Normalizer[]): Normalizer =>
  (text) =>
    steps.reduce((before, step) => step(before), text);

/** By character, so that a sigma at the end of a word is one like any other. */
const lower = changing((text) => Array.from(text, (c) => c.toLowerCase()).join(''));

const flag = z.boolean();

/** SentencePiece's cleaning of machine translation: no control characters, spaces of one kind. */
const nmt = sequence([
  replacing(/[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]/g, ''),
  replacing(/[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g, ' '),
]);

const clean = sequence([
  replacing(/[\0\ufffd]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}]/gu, ''),
  replacing(new RegExp(space, 'gu'), ' '),
]);
/** Ideographs, as BERT counts them. */
const ideographs =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;

const apart = changing((text) => text.replace(ideographs, ' $& '));
const unaccented = sequence([changing((text) => text.normalize('NFD')), replacing(/\p{Mn}/gu, '')]);

const bert = (options: {
  readonly clean_text: boolean;
  readonly handle_chinese_chars: boolean;
  readonly strip_accents?: boolean | null | undefined;
  readonly lowercase: boolean;
}): Normalizer =>
  sequence([
    options.clean_text ? clean : same,
    options.handle_chinese_chars ? apart : same,
    (options.strip_accents ?? options.lowercase) ? unaccented : same,
    options.lowercase ? lower : same,
  ]);

/** Every normalizer of tokenizer.json but Precompiled, whose table of characters is SentencePiece's own. */
const normalizers: Readonly<Record<string, Component<Normalizer>>> = {
  NFC: form('NFC'),
  NFD: form('NFD'),
  NFKC: form('NFKC'),
  NFKD: form('NFKD'),
  Lowercase: component({}, () => lower),
  Strip: component({ strip_left: flag, strip_right: flag }, ({ strip_left, strip_right }) =>
    sequence([strip_left ? left : same, strip_right ? right : same]),
  ),
  StripAccents: component({}, () => replacing(/\p{M}/gu, '')),
  Prepend: component({ prepend: z.string() }, ({ prepend }) =>
    changing((text) => text && prepend + text),
  ),
  Replace: component({ pattern, content: z.string() }, ({ pattern, content }) =>
    replacing(pattern, content),
  ),
  ByteLevel: component({}, () => changing(spellBytes)),
  Nmt: component({}, () => nmt),
  BertNormalizer: component(
    {
      clean_text: flag,
      handle_chinese_chars: flag,
      strip_accents: z.nullish(flag),
      lowercase: flag,
    },
    bert,
  ),
  Sequence: component({ normalizers: z.array(z.unknown()) }, ({ normalizers: steps }) =>
    sequence(steps.map((json) => makeNormalizer(json)!)),
  ),
};

export const makeNormalizer = (json: unknown): Normalizer | undefined =>
  makeOf('normalizer', normalizers, json);

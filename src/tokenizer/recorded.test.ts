import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { createTokenizer, type Tokenizer } from './tokenizer.ts';

/** What scripts/tokenizer_ids.py has recorded; DEJAVU_TOKENIZER_CASES names another file of its. */
const file =
  process.env['DEJAVU_TOKENIZER_CASES'] ??
  fileURLToPath(new URL('../../test/data/tokenizers/recorded.json', import.meta.url));

interface Recorded {
  readonly bases: Readonly<Record<string, Base>>;
  readonly cases: readonly Case[];
}
interface Base {
  readonly model: object;
}
interface Case {
  readonly base: string;
  readonly patch: object;
  readonly model: object;
  readonly texts: readonly string[];
  /** With and without what the post-processor adds. */
  readonly ids: readonly (readonly [number[], number[]])[];
  readonly given: readonly number[][];
  /** Without and with special tokens. */
  readonly decoded: readonly (readonly [string, string])[];
}

const { bases, cases } = JSON.parse(readFileSync(file, 'utf8')) as Recorded;

const baseOf = (name: string): Base =>
  bases[name] ?? (JSON.parse(readFileSync(name, 'utf8')) as Base);

/** Ids; undefined where a character is in no token, which Hugging Face's leaves out without a word. */
function idsOf(tokenizer: Tokenizer, text: string, special: boolean): number[] | undefined {
  try {
    return tokenizer.encode(text, { special });
  } catch {
    return undefined;
  }
}

describe("any parts of a tokenizer.json, as Hugging Face's tokenizers runs them", () => {
  cases.forEach(({ base, patch, model, texts, ids, given, decoded }, i) => {
    test(`${i}: ${base} ${JSON.stringify({ ...patch, ...model })}`, () => {
      const json = baseOf(base);
      const whole = { ...json, ...patch, model: { ...json.model, ...model } };
      const tokenizer = createTokenizer(whole, {}, base);
      texts.forEach((text, j) => {
        [true, false].forEach((special, k) => {
          const found = idsOf(tokenizer, text, special);
          if (found) expect(found, JSON.stringify(text)).toEqual(ids[j][k]);
        });
      });
      given.forEach((list, j) => {
        [false, true].forEach((special, k) => {
          expect(tokenizer.decode(list, { special }), String(list)).toBe(decoded[j][k]);
        });
      });
    });
  });
});

describe('what is not run as Hugging Face has it is refused by name', () => {
  const words = bases['words'];
  const refusals: readonly (readonly [object, string])[] = [
    [{ pre_tokenizer: { type: 'UnicodeScripts' } }, 'UnicodeScripts'],
    [{ normalizer: { type: 'Precompiled', precompiled_charsmap: '' } }, 'Precompiled'],
    [{ post_processor: { type: 'RobertaProcessing', sep: 3 } }, 'RobertaProcessing'],
    [{ decoder: { type: 'Replace', pattern: { Regex: '\\X' }, content: '' } }, '\\X'],
    [{ model: { ...words.model, type: 'Other' } }, 'Other'],
    [{ model: { type: 'BPE', vocab: { a: 0 }, merges: ['a b'] } }, '"b" of merge 0 is no token'],
    [{ model: { type: 'BPE', vocab: { a: 0 }, merges: [], dropout: 0.1 } }, 'by chance'],
    [
      {
        normalizer: { type: 'Lowercase' },
        added_tokens: [
          { id: 700, content: '<A>', normalized: true },
          { id: 701, content: '<a>', normalized: true },
        ],
      },
      '700 and 701 are one text once normalized',
    ],
    [
      {
        pre_tokenizer: {
          type: 'Sequence',
          pretokenizers: [{ type: 'ByteLevel' }, { type: 'Metaspace', prepend_scheme: 'first' }],
        },
      },
      'first piece after ByteLevel',
    ],
    [
      {
        post_processor: {
          type: 'Sequence',
          processors: [
            { type: 'BertProcessing', sep: ['<s>', 1], cls: ['<s>', 1] },
            { type: 'BertProcessing', sep: ['<s>', 1], cls: ['<s>', 1] },
          ],
        },
      },
      'two of its processors add tokens',
    ],
  ];
  for (const [patch, says] of refusals)
    test(says, () => {
      expect(() => createTokenizer({ ...words, ...patch }, {}, 'here')).toThrow(says);
    });
});

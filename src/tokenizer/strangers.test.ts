import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { createTokenizer } from './tokenizer.ts';

const shared = fileURLToPath(new URL('../../../shared/', import.meta.url));
const file = `${shared}strangers/tokenizers.json`;
const here = existsSync(file);

interface Strangers {
  readonly texts: readonly string[];
  readonly tokenizers: Readonly<
    Record<string, { base: string; patch: Patch; ids: readonly (readonly number[])[] }>
  >;
}

/** What a tokenizer has in place of its base's; its added tokens are more. */
interface Patch {
  readonly added_tokens?: readonly object[];
}

const strangers: Strangers = here
  ? (JSON.parse(readFileSync(file, 'utf8')) as Strangers)
  : { texts: [], tokenizers: {} };

describe.skipIf(!here)('ids of tokenizers as people publish them (skipped: no ../shared)', () => {
  for (const [name, { base, patch, ids }] of Object.entries(strangers.tokenizers))
    test(`${name} gives those of Hugging Face's tokenizers`, () => {
      const json = JSON.parse(
        readFileSync(`${shared}tokenizers/${base}/tokenizer.json`, 'utf8'),
      ) as Patch;
      const added_tokens = [...(json.added_tokens ?? []), ...(patch.added_tokens ?? [])];
      const tokenizer = createTokenizer({ ...json, ...patch, added_tokens }, {}, name);
      const wrong = strangers.texts.filter(
        (text, i) => String(tokenizer.encode(text)) !== String(ids[i]),
      );
      expect(wrong).toEqual([]);
    });
});

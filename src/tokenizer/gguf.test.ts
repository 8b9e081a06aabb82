import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { codeOf } from '../../test/support/code-of.ts';
import { encodeGguf, type GgufValue } from '../../test/support/gguf-file.ts';
import type { Tokenizer } from './index.ts';
import { loadTokenizer } from '../../test/support/by-path.ts';

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'gguf-tokenizer-'))));
afterAll(() => rmSync(folder, { recursive: true }));

type Metadata = Readonly<Record<string, GgufValue>>;

const load = (metadata: Metadata): Promise<Tokenizer | undefined> => {
  const path = join(folder, 'vocabulary.gguf');
  const all = { 'general.architecture': 'llama', ...metadata };
  writeFileSync(path, encodeGguf({ metadata: Object.entries(all) }));
  return loadTokenizer(path);
};

const of = (type: number, values: readonly number[]): GgufValue => ({ of: type, values });

/** Merges of "ab" and "abc" out of bytes, words as GPT-2's, and what is around them. */
const bytePairs: Metadata = {
  'tokenizer.ggml.model': 'gpt2',
  'tokenizer.ggml.pre': 'gpt-2',
  'tokenizer.ggml.tokens': ['<|end|>', 'a', 'b', 'c', 'Ġ', 'ab', 'abc', 'Ġa', '<tool>'],
  'tokenizer.ggml.token_type': of(5, [3, 1, 1, 1, 1, 1, 1, 1, 4]),
  'tokenizer.ggml.merges': ['a b', 'ab c', 'Ġ a'],
  'tokenizer.ggml.bos_token_id': 0,
  'tokenizer.ggml.eos_token_id': 0,
};

/** Pieces for "▁ab" and "b▁", of which the likelier is merged first; and two bytes. */
const pieces: Metadata = {
  'tokenizer.ggml.model': 'llama',
  'tokenizer.ggml.tokens': ['<unk>', '<s>', '▁', 'a', 'b', '▁a', '▁ab', 'b▁', '<0xC3>', '<0xA9>'],
  'tokenizer.ggml.scores': of(6, [0, 0, -9, -8, -7, -2, -1, -3, 0, 0]),
  'tokenizer.ggml.token_type': of(5, [2, 3, 1, 1, 1, 1, 1, 1, 6, 6]),
  'tokenizer.ggml.bos_token_id': 1,
};

describe('a vocabulary of byte pairs', () => {
  test('is merged word by word', async () => {
    const tokenizer = (await load(bytePairs))!;
    expect(tokenizer.encode('abc abab')).toEqual([6, 4, 5, 5]);
    expect(tokenizer.decode([6, 7, 2, 5])).toBe('abc abab');
  });

  test('tokens of its own are found first; special ones are left out of texts', async () => {
    const tokenizer = (await load(bytePairs))!;
    expect(tokenizer.encode('ab<tool>c<|end|>')).toEqual([5, 8, 3, 0]);
    expect(tokenizer.decode([5, 8, 3, 0])).toBe('ab<tool>c');
  });

  test('gets the tokens around it that the file says', async () => {
    expect(
      (await load({ ...bytePairs, 'tokenizer.ggml.add_bos_token': true }))!.encode('a'),
    ).toEqual([0, 1]);
    expect(
      (await load({ ...bytePairs, 'tokenizer.ggml.add_eos_token': true }))!.encode('a'),
    ).toEqual([1, 0]);
    const llama3 = (await load({ ...bytePairs, 'tokenizer.ggml.pre': 'llama-bpe' }))!;
    expect(llama3.encode('a')).toEqual([0, 1]);
  });

  test('of before words had names is taken as its architecture has it', async () => {
    const { 'tokenizer.ggml.pre': _, ...unnamed } = bytePairs;
    const gpt2 = await load({ ...unnamed, 'general.architecture': 'gpt2' });
    expect(gpt2!.encode('abc')).toEqual([6]);
    expect(await codeOf(load(unnamed))).toBe('NO_TOKENIZER');
  });
});

describe('a vocabulary of SentencePiece', () => {
  test('is merged by score, after a space and a beginning', async () => {
    const tokenizer = (await load(pieces))!;
    expect(tokenizer.encode('ab a')).toEqual([1, 6, 5]);
    expect(tokenizer.encode('bab', { special: false })).toEqual([2, 4, 3, 4]);
    expect(tokenizer.decode([1, 6, 5])).toBe('ab a');
    const bare = (await load({ ...pieces, 'tokenizer.ggml.add_space_prefix': false }))!;
    expect(bare.encode('ab a', { special: false })).toEqual([3, 4, 5]);
  });

  test('has bytes for other characters', async () => {
    const tokenizer = (await load(pieces))!;
    expect(tokenizer.encode('é', { special: false })).toEqual([2, 8, 9]);
    expect(tokenizer.decode([2, 8, 9])).toBe('é');
    const stream = tokenizer.stream();
    expect([6, 8, 9, 3].map((id) => stream.push(id))).toEqual(['ab', '', 'é', 'a']);
  });
});

test('a file may have none', async () => {
  expect(await load({})).toBeUndefined();
  expect(await load({ 'tokenizer.ggml.model': 'none' })).toBeUndefined();
});

test.each<[what: string, metadata: Metadata]>([
  ['another kind', { ...pieces, 'tokenizer.ggml.model': 'bert' }],
  ['words that are divided another way', { ...bytePairs, 'tokenizer.ggml.pre': 'toString' }],
  ['no merges', { ...pieces, 'tokenizer.ggml.model': 'gpt2', 'tokenizer.ggml.pre': 'gpt-2' }],
  ['a merge of one token', { ...bytePairs, 'tokenizer.ggml.merges': ['ab'] }],
  ['a token twice', { ...pieces, 'tokenizer.ggml.tokens': ['a', 'a', ...'bcdefghi'.slice(0, 8)] }],
  ['scores of other tokens', { ...pieces, 'tokenizer.ggml.scores': of(6, [1]) }],
])('refused: %s', async (_, metadata) => {
  expect(await codeOf(load(metadata))).toBe('NO_TOKENIZER');
});

const shared = fileURLToPath(new URL('../../../shared/tokenizers/', import.meta.url));

describe.skipIf(!existsSync(shared))(
  'vocabularies, as llama.cpp tokenizes (skipped: no ../shared/tokenizers)',
  () => {
    const names = existsSync(shared)
      ? readdirSync(`${shared}ggml-vocab`)
          .filter((file) => file.endsWith('.gguf.out'))
          .map((file) => file.slice('ggml-vocab-'.length, -'.gguf.out'.length))
      : [];

    test.each(names)('%s', async (name) => {
      const path = `${shared}ggml-vocab/ggml-vocab-${name}.gguf`;
      const tokenizer = (await loadTokenizer(path))!;
      const texts = readFileSync(`${path}.inp`, 'utf8').split('\n__ggml_vocab_test__\n');
      const expected = readFileSync(`${path}.out`, 'utf8').split('\n').slice(0, texts.length);
      expect(texts.length).toBeGreaterThan(40);
      texts.forEach((text, i) => {
        const ids = (expected[i].match(/\d+/g) ?? []).map(Number);
        expect(tokenizer.encode(text, { special: false }), JSON.stringify(text)).toEqual(ids);
        expect(tokenizer.decode(ids)).toBe(text);
      });
    });
  },
);

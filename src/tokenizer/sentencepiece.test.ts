import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { EngineError } from '../errors.ts';
import { sentencePieceJson } from './sentencepiece-model.ts';
import { createTokenizer, type Tokenizer } from './tokenizer.ts';
import { loadTokenizer } from '../../test/support/by-path.ts';

/** Tiny models, and what SentencePiece encodes and decodes (test/data/sentencepiece/train.py). */
const folder = fileURLToPath(new URL('../../test/data/sentencepiece/', import.meta.url));
const golden = JSON.parse(readFileSync(`${folder}golden.json`, 'utf8')) as Record<
  string,
  [text: string, ids: number[], decoded: string][]
>;
const model = (name: string): Uint8Array => readFileSync(`${folder}${name}.model`);
const tokenizerOf = (name: string, config: unknown = {}): Tokenizer =>
  createTokenizer(sentencePieceJson(model(name), config, name), {}, name);

const refusal = (bytes: Uint8Array, config: unknown = {}): string => {
  try {
    sentencePieceJson(bytes, config, 'test');
  } catch (error) {
    expect(error).toBeInstanceOf(EngineError);
    expect((error as EngineError).code).toBe('NO_TOKENIZER');
    return (error as EngineError).message;
  }
  return 'none';
};

describe.each(Object.entries(golden))('%s', (name, cases) => {
  const tokenizer = tokenizerOf(name);

  test('ids are those of SentencePiece', () => {
    for (const [text, ids] of cases) {
      // Control tokens written out in a text are theirs here, as in Hugging Face's tokenizers.
      if (text === '<s>') continue;
      expect(tokenizer.encode(text, { special: false }), JSON.stringify(text)).toEqual(ids);
    }
  });

  test('texts are those of SentencePiece', () => {
    // Unknown characters leave nothing here, as all special tokens.
    for (const [text, ids, decoded] of cases)
      expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(decoded.replaceAll(' ⁇ ', ''));
  });
});

test('tokens around a text are those the configuration says', () => {
  expect(tokenizerOf('plain').encode('')).toEqual([1]);
  const both = tokenizerOf('plain', { add_bos_token: false, add_eos_token: true });
  expect(both.encode('')).toEqual([2]);
  expect(tokenizerOf('plain').encode('<s>', { special: false })).toEqual([1]);
});

test.each(['plain', 'unigram'])('%s: U+FEFF, spelled in bytes, stays', (name) => {
  const tokenizer = tokenizerOf(name);
  const ids = tokenizer.encode('\ufeffa \ufeff', { special: false });
  expect(tokenizer.decode(ids)).toBe('\ufeffa \ufeff');
  const stream = tokenizer.stream();
  expect(ids.map((id) => stream.push(id)).join('') + stream.end()).toBe('\ufeffa \ufeff');
});

test('tokens that were added follow the others', () => {
  const added_tokens_decoder = {
    420: { content: '<|turn|>', special: true },
    421: { content: '##' },
  };
  const tokenizer = tokenizerOf('plain', { added_tokens_decoder });
  const ids = tokenizer.encode('a<|turn|>##', { special: false });
  expect(ids.slice(-2)).toEqual([420, 421]);
  expect(tokenizer.decode(ids)).toBe('a##');
  expect(refusal(model('plain'), { added_tokens_decoder: { 500: { content: 'x' } } })).toMatch(
    /without a gap/,
  );
  expect(refusal(model('plain'), { added_tokens_decoder: { 420: { content: '<s>' } } })).toMatch(
    /tokens 1 and 420/,
  );
});

describe('refused:', () => {
  /** Another message in which one field is set: the last of its kind counts. */
  const changed = (number: number, name: string, field: readonly number[]): Uint8Array =>
    Uint8Array.of(...model(name), (number << 3) | 2, field.length, ...field);
  const normalizing = (name: string, ...field: number[]): Uint8Array => changed(3, name, field);

  test('a model of words, symbols among pieces of Unigram', () => {
    expect(refusal(changed(2, 'plain', [3 << 3, 3]))).toMatch(/of type word/);
    const symbol = [(1 << 3) | 2, 2, 0x23, 0x23, 3 << 3, 4];
    expect(refusal(changed(1, 'unigram-unknown', symbol))).toMatch(/symbols of its own/);
  });

  test('a table of characters, spaces that stay, symbols among spaces that do not', () => {
    expect(refusal(normalizing('plain', (2 << 3) | 2, 1, 0))).toMatch(/by a table/);
    expect(refusal(normalizing('plain', 5 << 3, 0))).toMatch(/leaves spaces/);
    expect(refusal(normalizing('symbols', 4 << 3, 1))).toMatch(/symbols/);
  });

  test('every shorter file', () => {
    const bytes = model('plain');
    for (let length = 0; length < bytes.length; length += length < 300 ? 1 : 37)
      expect(refusal(bytes.subarray(0, length)), String(length)).not.toBe('none');
  });

  test('another file', () => {
    expect(refusal(new TextEncoder().encode('{"model": 1}'))).toMatch(/damaged/);
  });
});

const shared = fileURLToPath(new URL('../../../shared/tokenizers/', import.meta.url));

describe.skipIf(!existsSync(shared))("Llama 2's (skipped: no ../shared/tokenizers)", () => {
  test('tokenizer.model and GGUF vocabulary are one tokenizer', async () => {
    const gguf = (await loadTokenizer(`${shared}ggml-vocab/ggml-vocab-llama-spm.gguf`))!;
    const bytes = readFileSync(`${shared}llama2/tokenizer.model`);
    const own = createTokenizer(sentencePieceJson(bytes, {}, 'llama2'), {}, 'llama2');
    for (const [text] of golden.plain) {
      const ids = own.encode(text);
      expect(gguf.encode(text), JSON.stringify(text)).toEqual(ids);
      expect(own.decode(ids)).toBe(text.replaceAll('<s>', ''));
    }
  });
});

import { expect, test } from 'vitest';
import { createTokenizer, type Tokenizer } from '../tokenizer.ts';

const vocab: [string, number][] = [
  ['<unk>', 0],
  ['a', -1],
  ['b', -1.5],
  ['ab', -2.5],
  ['ba', -1],
  ['<0xC3>', 0],
  ['<0xA9>', 0],
  ['🦙', -9],
];

const tokenizer = (more: object = {}): Tokenizer =>
  createTokenizer(
    {
      ...{ normalizer: null, pre_tokenizer: null, post_processor: null, added_tokens: [] },
      decoder: { type: 'Sequence', decoders: [{ type: 'ByteFallback' }, { type: 'Fuse' }] },
      model: { type: 'Unigram', unk_id: 0, vocab, ...more },
    },
    {},
    'test',
  );

test('a text becomes the pieces whose scores add up to the most', () => {
  const tokens = tokenizer();
  expect(tokens.encode('')).toEqual([]);
  // a + ba is -2, ab + a -3.5.
  expect(tokens.encode('aba')).toEqual([1, 4]);
  // Both ways are -2.5: the longer piece.
  expect(tokens.encode('ab')).toEqual([3]);
  expect(tokens.encode('🦙b')).toEqual([7, 2]);
});

test('characters without a piece are unknown, together', () => {
  expect(tokenizer().encode('aéñb')).toEqual([1, 0, 2]);
});

test('or bytes, where all of them are pieces', () => {
  const bytes = tokenizer({ byte_fallback: true });
  expect(bytes.encode('aéb')).toEqual([1, 5, 6, 2]);
  expect(bytes.decode([1, 5, 6, 2])).toBe('aéb');
  expect(bytes.encode('añb')).toEqual([1, 0, 2]);
});

test("Hugging Face's compare texts with the names of bytes, SentencePiece's do not", () => {
  expect(tokenizer().encode('<0xC3>')).toEqual([5]);
  const unmatched = [0, 5, 6];
  expect(tokenizer({ sentencepiece: { unmatched } }).encode('<0xC3>')).toEqual([0]);
});

test('a long text takes no longer for each character', () => {
  const ids = tokenizer().encode('aba'.repeat(200_000));
  expect(ids).toHaveLength(400_000);
});

import { describe, expect, it } from 'vitest';
import type { Tokenizer } from '../tokenizer/index.ts';
import { TextStream } from './text-stream.ts';

/** A tokenizer whose ids are places in a list of texts. */
const pieces = (texts: readonly string[]): Tokenizer =>
  ({ stream: () => ({ push: (id: number) => texts[id], end: () => '' }) }) as unknown as Tokenizer;

const run = (texts: readonly string[], stops: readonly string[]) => {
  const stream = new TextStream(pieces(texts), stops);
  const given: string[] = [];
  for (let id = 0; id < texts.length && !stream.stopped; id++) given.push(stream.push(id));
  const rest = stream.end();
  return { given, rest, text: stream.value, stopped: stream.stopped };
};

describe('text as it becomes certain', () => {
  it('passes text through where nothing can stop it', () => {
    expect(run(['a', 'bc', 'd'], [])).toEqual({
      given: ['a', 'bc', 'd'],
      rest: '',
      text: 'abcd',
      stopped: false,
    });
  });

  it('cuts at a stop text that spans ids, and gives nothing of it out', () => {
    const { given, text, stopped } = run(['one ', 'E', 'N', 'D two'], ['END']);
    expect(given.join('')).toBe('one ');
    expect(text).toBe('one ');
    expect(stopped).toBe(true);
  });

  it('gives out what only looked like a stop text', () => {
    const { given, rest, text } = run(['x', 'EN', 'Z', 'E'], ['END']);
    expect(given).toEqual(['x', '', 'ENZ', '']);
    expect(rest).toBe('E');
    expect(text).toBe('xENZE');
  });

  it('stops at the first of several', () => {
    expect(run(['ab cd'], ['cd', 'b']).text).toBe('a');
  });
});

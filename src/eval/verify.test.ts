import { expect, test } from 'vitest';
import { failures, type VerifyResult } from './verify.ts';

const good: VerifyResult = {
  model: 'm',
  family: 'f',
  backend: 'b',
  weights: 'f32',
  golden: 'golden.safetensors',
  logits: { maxError: 1e-4, range: 1 },
  hidden: [{ layer: 0, maxError: 0, range: 2 }],
  greedy: { equal: 40, of: 40, firstDifference: null },
  masked: { maxError: 2e-4, range: 1 },
  perplexity: [{ name: 'a.txt', perplexity: 30.02, expected: 30 }],
};

test('what lies within the tolerance is no failure, its edge included', () => {
  expect(failures(good)).toEqual([]);
});

test.each<[string, Partial<VerifyResult>, RegExp]>([
  ['logits', { logits: { maxError: 2.1e-4, range: 1 } }, /^logits differ/],
  ['not a number', { logits: { maxError: Infinity, range: 1 } }, /^logits differ/],
  ['a hidden state', { hidden: [{ layer: 3, maxError: 1, range: 2 }] }, /^hidden\.3 differ/],
  ['masked logits', { masked: { maxError: 1, range: 2 } }, /^masked logits differ/],
  ['ids', { greedy: { equal: 7, of: 40, firstDifference: 7 } }, /from id 7 on$/],
  ['a perplexity', { perplexity: [{ name: 'a', perplexity: 30.1, expected: 30 }] }, /^perplexity/],
])('%s beyond it is one', (_, change, said) => {
  const found = failures({ ...good, ...change });
  expect(found).toHaveLength(1);
  expect(found[0]).toMatch(said);
});

test('a given tolerance holds for errors and perplexities', () => {
  expect(failures(good, 1e-5)).toHaveLength(3);
  const worse = { ...good, perplexity: [{ name: 'a', perplexity: 31, expected: 30 }] };
  expect(failures(worse, 0.1)).toEqual([]);
});

import { describe, expect, it } from 'vitest';
import { argmax, createSampler, likeliest, logProbability, uniform } from './sampler.ts';

const logits = Float32Array.of(0.1, 2, -1, 2, 1.5, -4);

const counts = (options: Parameters<typeof createSampler>[0], draws = 4000): number[] => {
  const sample = createSampler(options);
  const found = new Array<number>(logits.length).fill(0);
  for (let i = 0; i < draws; i++) found[sample(logits)]++;
  return found;
};

describe('sampling', () => {
  it('is greedy at temperature 0, the first of equals', () => {
    expect(createSampler({ temperature: 0 })(logits)).toBe(1);
    expect(argmax(logits)).toBe(1);
  });

  it('orders ids by likelihood, ties by place', () => {
    expect(Array.from(likeliest(logits, 4))).toEqual([1, 3, 4, 0]);
    expect(Array.from(likeliest(logits, 99))).toEqual([1, 3, 4, 0, 2, 5]);
  });

  it('draws in proportion to the softmax', () => {
    const found = counts({ temperature: 1, topK: 0, topP: 1, minP: 0, seed: 3 }, 20_000);
    found.forEach((count, id) =>
      expect(count / 20_000).toBeCloseTo(Math.exp(logProbability(logits, id)), 1),
    );
  });

  it.each([
    ['top-k', { topK: 2, topP: 1, minP: 0 }, [1, 3]],
    ['top-p', { topK: 0, topP: 0.6, minP: 0 }, [1, 3]],
    ['min-p', { topK: 0, topP: 1, minP: 0.5 }, [1, 3, 4]],
  ])('%s keeps only what it should', (_, options, kept) => {
    const found = counts({ temperature: 1, ...options });
    expect(found.flatMap((count, id) => (count ? [id] : []))).toEqual(kept);
  });

  it('gives the same ids for a seed, others for another', () => {
    const draw = (seed: number): number[] => {
      const sample = createSampler({ temperature: 1, seed });
      return Array.from({ length: 50 }, () => sample(logits));
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
  });

  it('has uniform numbers in [0, 1)', () => {
    const random = uniform(1);
    const values = Array.from({ length: 10_000 }, random);
    expect(Math.min(...values)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...values)).toBeLessThan(1);
    expect(values.reduce((a, b) => a + b) / values.length).toBeCloseTo(0.5, 1);
  });

  it.each([
    { temperature: -1 },
    { temperature: NaN },
    { topK: 1.5 },
    { topP: 0 },
    { minP: 2 },
    { seed: -3 },
  ])('refuses %j', (options) => {
    expect(() => createSampler(options)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
  });
});

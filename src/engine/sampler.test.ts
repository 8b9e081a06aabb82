import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  argmax,
  candidates,
  createSampler,
  likeliest,
  logProbability,
  type SamplingOptions,
} from './sampler.ts';

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

  it('filters at temperature 1, and draws at the one it is given', () => {
    const { ids, probabilities } = candidates(logits, [], { temperature: 2, topP: 0.7, minP: 0.5 });
    expect(Array.from(ids)).toEqual([1, 3]);
    const halved = candidates(logits, [], { temperature: 2, topK: 3, topP: 1, minP: 0 });
    expect(probabilities[0]).toBe(0.5);
    expect(halved.probabilities[2] / halved.probabilities[0]).toBeCloseTo(Math.exp(-0.25), 12);
  });

  it('gives the same ids for a seed, others for another', () => {
    const draw = (seed: number): number[] => {
      const sample = createSampler({ temperature: 1, seed });
      return Array.from({ length: 50 }, () => sample(logits));
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
  });

  it.each([
    { temperature: -1 },
    { temperature: NaN },
    { topK: 1.5 },
    { topP: 0 },
    { minP: 2 },
    { seed: -3 },
    { repeatPenalty: 0 },
    { repeatPenalty: Infinity },
    { repeatLastN: -2 },
    { presencePenalty: NaN },
    { frequencyPenalty: Infinity },
    { logitBias: { 1: Infinity } },
    { logitBias: { 1: NaN } },
    { logitBias: { [-1]: 1 } },
    { logitBias: { 99: 1 } },
  ])('refuses %j', (options) => {
    expect(() => createSampler(options as SamplingOptions, logits.length)).toThrow(
      expect.objectContaining({ code: 'BAD_REQUEST' }),
    );
  });
});

describe('bias and penalties', () => {
  const open: SamplingOptions = { temperature: 1, topK: 0, topP: 1, minP: 0 };
  /** The logits that penalties leave, up to a constant: logs of the probabilities, by id. */
  const left = (before: number[], options: SamplingOptions): number[] => {
    const { ids, probabilities } = candidates(logits, before, { ...open, ...options });
    const logs = new Array<number>(logits.length).fill(-Infinity);
    ids.forEach((id, i) => (logs[id] = Math.log(probabilities[i])));
    return logs.map((log) => log - logs[5]);
  };
  const above = (...values: number[]): number[] => values.map((x) => x - values[5]);

  // Worked by hand by llama.cpp's rules: logits are 0.1, 2, -1, 2, 1.5, -4.
  it.each<[string, number[], SamplingOptions, number[]]>([
    ['divides what is positive', [1, 1], { repeatPenalty: 2 }, above(0.1, 1, -1, 2, 1.5, -4)],
    ['multiplies what is negative', [2], { repeatPenalty: 2 }, above(0.1, 2, -2, 2, 1.5, -4)],
    ['counts presence once', [3, 3, 3], { presencePenalty: 0.5 }, above(0.1, 2, -1, 1.5, 1.5, -4)],
    [
      'counts frequency each time',
      [3, 0, 3],
      { frequencyPenalty: 0.5 },
      above(-0.4, 2, -1, 1, 1.5, -4),
    ],
    [
      'repeats before it subtracts',
      [1, 2, 1],
      { repeatPenalty: 4, frequencyPenalty: 0.25, presencePenalty: 1 },
      above(0.1, -1, -5.25, 2, 1.5, -4),
    ],
    [
      'adds the bias before it repeats',
      [0],
      { repeatPenalty: 2, logitBias: { 0: 3.9, 4: -1 } },
      above(2, 2, -1, 2, 0.5, -4),
    ],
    [
      'looks at the last ids alone',
      [1, 3, 4],
      { repeatLastN: 2, presencePenalty: 1 },
      above(0.1, 2, -1, 1, 0.5, -4),
    ],
    [
      'looks at all with -1',
      [1, ...new Array<number>(100).fill(4)],
      { repeatLastN: -1, presencePenalty: 1 },
      above(0.1, 1, -1, 2, 0.5, -4),
    ],
    [
      'forgets what is further back than 64',
      [1, ...new Array<number>(64).fill(4)],
      { presencePenalty: 1 },
      above(0.1, 2, -1, 2, 0.5, -4),
    ],
    ['looks at none with 0', [1], { repeatLastN: 0, presencePenalty: 1 }, above(...logits)],
  ])('%s', (_, before, options, expected) => {
    left(before, options).forEach((log, id) => expect(log).toBeCloseTo(expected[id], 5));
  });

  it('holds for greedy choices too', () => {
    expect(createSampler({ temperature: 0, logitBias: { 1: false } })(logits)).toBe(3);
    expect(createSampler({ temperature: 0, presencePenalty: 9 })(logits, [1, 3])).toBe(4);
  });

  it('does not change the logits it is given', () => {
    const given = logits.slice();
    createSampler({ ...open, logitBias: { 1: false }, repeatPenalty: 2 })(given, [0, 1, 2]);
    expect(given).toEqual(logits);
  });

  it('refuses to rule out every id', () => {
    const none = Object.fromEntries(Array.from(logits.keys(), (id) => [id, false as const]));
    for (const temperature of [0, 1])
      expect(() => createSampler({ temperature, logitBias: none })(logits)).toThrow(
        expect.objectContaining({ code: 'BAD_REQUEST' }),
      );
  });
});

describe('for any logits and options', () => {
  const vocabulary = 12;
  const anyLogits = fc
    .array(fc.oneof(fc.float({ min: -30, max: 30, noNaN: true }), fc.constantFrom(0, 1)), {
      minLength: vocabulary,
      maxLength: vocabulary,
    })
    .map((values) => Float32Array.from(values));
  const id = fc.nat(vocabulary - 1);
  const ids = fc.array(id, { maxLength: 80 });
  const filters = fc.record({
    temperature: fc.double({ min: 0.05, max: 3, noNaN: true }),
    topK: fc.nat(vocabulary + 2),
    topP: fc.double({ min: 0.01, max: 1, noNaN: true }),
    minP: fc.double({ min: 0, max: 1, noNaN: true }),
    seed: fc.nat(),
  });
  const penalties = fc.record({
    repeatPenalty: fc.double({ min: 0.1, max: 4, noNaN: true }),
    repeatLastN: fc.integer({ min: -1, max: 100 }),
    presencePenalty: fc.double({ min: -3, max: 3, noNaN: true }),
    frequencyPenalty: fc.double({ min: -3, max: 3, noNaN: true }),
    logitBias: fc.dictionary(id.map(String), fc.double({ min: -9, max: 9, noNaN: true })),
  });
  const draws = (options: SamplingOptions, values: Float32Array, before: number[]): number[] => {
    const sample = createSampler(options);
    return Array.from({ length: 20 }, () => sample(values, before));
  };

  it('the same seed gives the same ids', () => {
    fc.assert(
      fc.property(anyLogits, ids, filters, penalties, (values, before, some, others) => {
        const options = { ...some, ...others };
        expect(draws(options, values, before)).toEqual(draws(options, values, before));
      }),
    );
  });

  it('probabilities sum to one, of different ids in order, and draws are among them', () => {
    fc.assert(
      fc.property(anyLogits, ids, filters, penalties, (values, before, some, others) => {
        const options = { ...some, ...others };
        const found = candidates(values, before, options);
        const total = found.probabilities.reduce((a, b) => a + b, 0);
        expect(total).toBeCloseTo(1, 12);
        expect(found.probabilities).toHaveLength(found.ids.length);
        expect(new Set(found.ids).size).toBe(found.ids.length);
        expect(found.probabilities).toEqual(found.probabilities.slice().sort((a, b) => b - a));
        for (const drawn of draws(options, values, before)) expect(found.ids).toContain(drawn);
      }),
    );
  });

  it('an id with a bias of -Infinity or false is never sampled', () => {
    const banned = fc.uniqueArray(id, { minLength: 1, maxLength: vocabulary - 1 });
    fc.assert(
      fc.property(
        anyLogits,
        ids,
        filters,
        banned,
        fc.boolean(),
        (values, before, some, out, no) => {
          const logitBias = Object.fromEntries(
            out.map((one) => [one, no ? (false as const) : -Infinity]),
          );
          for (const temperature of [0, some.temperature])
            for (const drawn of draws({ ...some, temperature, logitBias }, values, before))
              expect(out).not.toContain(drawn);
        },
      ),
    );
  });

  it('neutral penalties and biases change no bit', () => {
    const neutral = {
      ...{ repeatPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, logitBias: {} },
      repeatLastN: -1,
    };
    fc.assert(
      fc.property(anyLogits, ids, filters, (values, before, some) => {
        expect(candidates(values, before, { ...some, ...neutral })).toEqual(
          candidates(values, [], some),
        );
        expect(draws({ ...some, ...neutral }, values, before)).toEqual(draws(some, values, []));
      }),
    );
  });

  it('equal ids stay in the order of the vocabulary', () => {
    fc.assert(
      fc.property(anyLogits, filters, (values, some) => {
        const { ids: kept } = candidates(values, [], some);
        for (let i = 1; i < kept.length; i++)
          if (values[kept[i]] === values[kept[i - 1]]) expect(kept[i]).toBeGreaterThan(kept[i - 1]);
      }),
    );
    const flat = new Float32Array(vocabulary).fill(1);
    fc.assert(
      fc.property(filters, (some) => {
        const { ids: kept } = candidates(flat, [], some);
        expect(Array.from(kept)).toEqual(Array.from(kept.keys()));
      }),
    );
  });
});

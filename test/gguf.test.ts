/** A real GGUF model, compared with llama.cpp: needs ../shared/models/SmolLM2-135M, and kernels that compile. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine, inspect } from '../src/engine/local.ts';
import { runOf } from '../src/eval/run.ts';
import { scoreWindows } from '../src/eval/windows.ts';

const folder = fileURLToPath(new URL('../../shared/models/SmolLM2-135M/', import.meta.url));
const file = `${folder}SmolLM2-135M-Instruct.Q4_1.gguf`;
const wikitext = fileURLToPath(
  new URL('../../shared/text/wikitext-2-raw-test.txt', import.meta.url),
);

interface Golden {
  readonly cases: readonly {
    readonly prompt: string;
    readonly prompt_ids: readonly number[];
    readonly generated_ids: readonly number[];
    readonly text: string;
    readonly steps: readonly { readonly top2: readonly { id: number; logprob: number }[] }[];
  }[];
  readonly perplexity: { readonly perplexity: number };
}

/** llama.cpp rounds activations to 8 bits: what it finds nearly equal may fall out the other way. */
const nearlyEqual = 0.1;

describe.skipIf(!existsSync(file))('SmolLM2-135M (skipped: not in ../shared/models)', () => {
  const golden = existsSync(file)
    ? (JSON.parse(readFileSync(`${folder}golden.json`, 'utf8')) as Golden)
    : { cases: [], perplexity: { perplexity: 0 } };
  let engine: Engine;
  beforeAll(async () => void (engine = await Engine.open(file, { context: 1024 })), 120_000);
  afterAll(() => engine[Symbol.asyncDispose]());

  it('is what its metadata say', async () => {
    expect(await inspect(file)).toMatchObject({
      ...{ family: 'llama', layers: 30, heads: 9, kvHeads: 3, headDim: 64, hiddenSize: 576 },
      ...{ neurons: 1536, vocabulary: 49_152, context: 8192, activation: 'silu', gated: true },
      parameters: 134_515_008,
    });
  });

  it.each(golden.cases)(
    'continues "$prompt" as llama.cpp does',
    async (expected) => {
      expect(engine.tokenizer.encode(expected.prompt)).toEqual(expected.prompt_ids);
      expect(engine.tokenizer.decode(expected.generated_ids, { special: true })).toBe(
        expected.text,
      );
      const { ids } = await engine.generate(expected.prompt, {
        maxTokens: expected.generated_ids.length,
        temperature: 0,
        ignoreEnd: true,
      }).result;
      const first = expected.generated_ids.findIndex((id, i) => id !== ids[i]);
      if (first < 0) return;
      const [best, next] = expected.steps[first].top2;
      const apart = best.logprob - next.logprob;
      console.log(
        `first difference at ${first} of ${ids.length}, where llama.cpp has its two ${apart.toFixed(3)} apart`,
      );
      expect(apart).toBeLessThan(nearlyEqual);
      expect(ids[first]).toBe(next.id);
    },
    120_000,
  );

  it.skipIf(!existsSync(wikitext))(
    'has the perplexity llama.cpp finds, within 1 %',
    async () => {
      const text = readFileSync(wikitext, 'utf8').slice(0, 20_000);
      const ids = Int32Array.from(engine.tokenizer.encode(text, { special: false }));
      const windows = [0, 512, 1024, 1536].map((start) => ({
        ...{ start, first: start + 257, end: start + 512 },
      }));
      const losses = await scoreWindows(ids, windows, {
        ...runOf(engine, {}),
        onProgress: () => undefined,
      });
      expect(losses).toHaveLength(1020);
      const perplexity = Math.exp(losses.reduce((a, b) => a + b, 0) / losses.length);
      const { perplexity: reference } = golden.perplexity;
      console.log(`perplexity ${perplexity.toFixed(3)}, llama.cpp ${reference.toFixed(3)}`);
      expect(Math.abs(perplexity / reference - 1)).toBeLessThan(0.01);
    },
    120_000,
  );
});

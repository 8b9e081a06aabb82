/** What a model's makers say of how its texts are generated: where they end, and what samples them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine, inspect, quantize } from '../src/index.ts';
import type { GenerateResult } from '../src/engine/generate.ts';
import { asGguf } from './support/as-gguf.ts';
import { dejavu, dejavuJson } from './support/dejavu.ts';
import { tinyModel } from './support/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'dejavu-generation-defaults-'));
afterAll(() => rmSync(folder, { recursive: true }));

const prompt = [5, 17, 9];
const open = (path: string, onNote?: (note: string) => void): Promise<Engine> =>
  Engine.open(path, { sparsity: 'dense', weights: 'f32', ...(onNote && { onNote }) });

/** What the model writes by itself, and a folder of it in which the makers say something. */
let model: string;
let greedy: readonly number[];
const saying = (said: unknown): string => {
  writeFileSync(join(model, 'generation_config.json'), JSON.stringify(said));
  return model;
};
beforeAll(async () => {
  model = tinyModel(folder, 'llama-relu');
  await using engine = await open(model);
  const asked = { temperature: 0, maxTokens: 12, ignoreEnd: true };
  greedy = (await engine.generate(prompt, asked).result).ids;
});

describe('end ids', () => {
  it('of config.json and generation_config.json all end texts: alone, in a batch, in a chat', async () => {
    const end = greedy.findIndex((id, i) => i > 2 && !greedy.slice(0, i).includes(id));
    await using engine = await open(saying({ eos_token_id: [330, greedy[end]] }));
    expect(engine.description.endIds).toEqual([2, 330, greedy[end]]);
    using batch = engine.batch({ sequences: 2 });
    for (const options of [{}, { batch }]) {
      const { ids, finishReason } = await engine.generate(prompt, { temperature: 0, ...options })
        .result;
      expect([ids, finishReason]).toEqual([greedy.slice(0, end), 'stop']);
    }
    // A conversation of plain text ends at the same ids: its only one is what it would write first.
    const template = '{% for m in messages %}{{ m.content }}{% endfor %}';
    using before = engine.chat({ template });
    const [first] = (
      await before.send('the', { temperature: 0, ignoreEnd: true, maxTokens: 1 }).result
    ).ids;
    await using other = await open(saying({ eos_token_id: first }));
    using chat = other.chat({ template });
    const { ids, finishReason } = await chat.send('the', { temperature: 0 }).result;
    expect([ids, finishReason]).toEqual([[], 'stop']);
  });
});

describe('defaults', () => {
  const said = { do_sample: true, temperature: 1.5, top_k: 7, top_p: 0.9, max_new_tokens: 9 };
  const same = {
    ...{ temperature: 1.5, topK: 7, topP: 0.9, temperatureOrder: 'first', maxTokens: 9 },
  } as const;
  const sample = async (engine: Engine, options: object): Promise<readonly number[]> =>
    (await engine.generate(prompt, { seed: 3, ignoreEnd: true, ...options }).result).ids;

  it('of the makers stand before ours, and after what is asked for', async () => {
    await using plain = await open(saying({}));
    await using engine = await open(saying(said));
    const expected = await sample(plain, same);
    expect(expected).toHaveLength(9);
    expect(await sample(engine, {})).toEqual(expected);
    expect(await sample(engine, { temperature: undefined })).toEqual(expected);
    expect(await sample(plain, { maxTokens: 9 })).not.toEqual(expected);
    expect(await sample(engine, { temperature: 0, maxTokens: 12 })).toEqual(greedy);
    expect(await sample(engine, { topK: 3 })).toEqual(await sample(plain, { ...same, topK: 3 }));
  });

  it('of a chat are the same', async () => {
    await using engine = await open(saying({ do_sample: false, max_new_tokens: 4 }));
    using chat = engine.chat({ template: '{% for m in messages %}{{ m.content }}{% endfor %}' });
    const { ids } = await chat.send('the', { ignoreEnd: true }).result;
    const written = { temperature: 0, maxTokens: 4, ignoreEnd: true };
    expect(ids).toEqual((await engine.generate('the', written).result).ids);
  });

  it('that do not sample are greedy; nothing said changes nothing', async () => {
    await using engine = await open(saying({ do_sample: false, temperature: 0.9 }));
    expect(await sample(engine, { maxTokens: 12 })).toEqual(greedy);
    rmSync(join(model, 'generation_config.json'));
    await using plain = await open(model);
    await using none = await open(saying({ eos_token_id: 2, bos_token_id: 1 }));
    expect(await sample(none, {})).toEqual(await sample(plain, {}));
    expect(plain.defaults).toEqual({ options: {}, notApplied: {} });
  });

  it('that are not computed are said, once, when a model is opened', async () => {
    const notes: string[] = [];
    const path = saying({ temperature: 0.5, num_beams: 4, bad_words_ids: [[7]] });
    await using engine = await open(path, (note) => notes.push(note));
    expect(engine.defaults.options.temperature).toBe(0.5);
    expect(notes).toEqual([
      'generation_config.json asks for what is not computed here: num_beams 4, bad_words_ids [[7]]; texts are generated without',
    ]);
  });

  it('are shown by inspect, and said by generate', async () => {
    const path = saying({ ...said, eos_token_id: [2, 5], num_beams: 4 });
    expect(await inspect(path)).toMatchObject({
      endIds: [2, 5],
      defaults: { source: 'generation_config.json', options: same, notApplied: { num_beams: 4 } },
    });
    const { stdout } = await dejavu(['inspect', path]);
    expect(stdout).toMatch(/end ids +2, 5\n/);
    expect(stdout).toMatch(/--temperature 1\.5 .*--top-p 0\.9 .*\(generation_config\.json\)/);
    expect(stdout).toMatch(/not applied +num_beams 4/);
    const argv = ['generate', path, '--ids', '5,17,9', '--sparsity', 'dense'];
    const { stderr } = await dejavu(argv);
    expect(stderr).toMatch(/unless other flags are given: .*--top-k 7/);
    const { ids } = await dejavuJson<GenerateResult>([...argv, '--temperature', '0']);
    expect(ids).toEqual(greedy.slice(0, ids.length));
  });
});

describe('a GGUF file', () => {
  const source = fileURLToPath(new URL('data/parity/llama-relu', import.meta.url));
  const float = (value: number) => ({ type: 6, value });
  const metadata = [
    ['general.sampling.temp', float(0.7)],
    ['general.sampling.top_k', 20],
    ['general.sampling.top_p', float(0.95)],
    ['general.sampling.penalty_repeat', float(1.05)],
    ['general.sampling.mirostat', 2],
    ['tokenizer.ggml.eot_token_id', 9],
  ] as const;
  const options = {
    ...{ temperature: 0.7, topK: 20, topP: 0.95, temperatureOrder: 'last' },
    ...{ repeatPenalty: 1.05, repeatLastN: 64 },
  };

  it('says in its metadata how its texts are sampled and end; a folder made of it says the same', async () => {
    const path = join(folder, 'model.gguf');
    // llama.cpp knows no Llama with ReLU: what is generated is not looked at here.
    writeFileSync(path, await asGguf(source, metadata));
    const { endIds, defaults } = await inspect(path);
    expect(endIds).toEqual([2, 9]);
    expect(defaults.options).toEqual(options);
    expect(defaults.source).toContain('metadata');
    expect(defaults.notApplied).toEqual({ mirostat: 2 });
    const output = join(folder, 'quantized');
    await quantize(path, { bits: 8, output });
    expect(JSON.parse(readFileSync(join(output, 'generation_config.json'), 'utf8'))).toBeTruthy();
    const again = await inspect(output);
    expect(again.endIds).toEqual([2, 9]);
    expect(again.defaults.options).toEqual(options);
  });

  it('with a wrong value is refused by name', async () => {
    const path = join(folder, 'wrong.gguf');
    writeFileSync(path, await asGguf(source, [['general.sampling.top_k', 'many']]));
    await expect(inspect(path)).rejects.toMatchObject({
      code: 'BAD_CONFIG',
      message: expect.stringContaining('general.sampling.top_k') as string,
    });
  });
});

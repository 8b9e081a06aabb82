// Fit a predictor, and generate with it: node examples/train.mjs
// A few steps on one excerpt, to show how; a predictor that is worth having takes a million tokens.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine, train } from 'dejavu-llm';

const folder = await mkdtemp(join(tmpdir(), 'dejavu-example-'));
const predictor = join(folder, 'predictor.safetensors');
const excerpt = new URL('../models/books-6m/excerpts/great-expectations.txt', import.meta.url);
const texts = [await readFile(excerpt, 'utf8')];

const dense = await Engine.open('books-6m', { sparsity: 'dense', context: 64 });
const { layers } = await train(dense, {
  ...{ texts, output: predictor, rank: 32, steps: 20, batch: 64, tokens: 2048 },
  calibrationTokens: 64,
});
await dense[Symbol.asyncDispose]();
console.log(`predictors of ${layers.length} layers`);

const engine = await Engine.open('books-6m', { sparsity: 'predictor', predictor });
const { sparsity, density, text } = await engine.generate('Mr. Pip', { maxTokens: 8 }).result;
console.log(`${sparsity}: ${density.neurons < 1 ? 'fewer' : 'all'} neurons, ${text.length > 0}`);
await engine[Symbol.asyncDispose]();
await rm(folder, { recursive: true });

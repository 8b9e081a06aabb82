// Several texts decoded together, each with its own sampling: node examples/batch.mjs
import { Engine } from 'dejavu-llm';

const engine = await Engine.open('books-6m', { sparsity: 'dense', weights: 'f32' });
const batch = engine.batch({ sequences: 2, context: 64 });
const prompts = ['It was a dark night, and', 'The little girl laughed and'];
const together = await Promise.all(
  prompts.map((prompt) => engine.generate(prompt, { batch, maxTokens: 12, temperature: 0 }).result),
);
for (const [i, { text, ids }] of together.entries()) {
  const alone = await engine.generate(prompts[i], { maxTokens: 12, temperature: 0 }).result;
  console.log(`${prompts[i]} …${text}`);
  console.log(`as alone: ${alone.ids.join() === ids.join()}`);
}
batch[Symbol.dispose]();
await engine[Symbol.asyncDispose]();

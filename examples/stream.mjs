// A text that streams, and what it cost: node examples/stream.mjs
import { Engine } from 'dejavu-llm';

const engine = await Engine.open('books-6m', { sparsity: 'predictor' });
const generation = engine.generate('The old sailor looked out over the water, and', {
  maxTokens: 24,
  temperature: 0,
});
for await (const { text } of generation) process.stdout.write(text);

const { density, bytesPerToken, finishReason } = await generation.result;
const percent = (share) => `${Math.round(100 * share)} %`;
console.log(`\n${finishReason}; neurons computed: ${percent(density.neurons)}`);
console.log(`weights read: ${percent(bytesPerToken.weights / bytesPerToken.dense)} of dense`);
await engine[Symbol.asyncDispose]();

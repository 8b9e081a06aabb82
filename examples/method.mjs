// A sparsity method from outside the package: node examples/method.mjs
// The oracle chooses neurons, but only in the second half of the blocks; the first half stays dense.
import { Engine } from 'dejavu-llm';

const engine = await Engine.open('books-6m', { sparsity: 'dense' });
const oracle = engine.method('oracle', { neurons: 0.25, heads: 1 });
const half = engine.description.layers / 2;

/** @type {import('dejavu-llm').GenerateOptions['method']} */
const lateOracle = {
  name: 'late-oracle',
  begin(g, step) {
    const inner = oracle.begin(g, step);
    return {
      select: (site, layer, x, truth) =>
        layer < half ? 'all' : inner.select(site, layer, x, truth),
    };
  },
};

const options = { maxTokens: 16, temperature: 0, method: lateOracle };
const { sparsity, density } = await engine.generate('The sea was', options).result;
console.log(`${sparsity}: neurons computed, by layer`);
for (const [layer, { neurons }] of density.layers.entries())
  console.log(`${layer}: ${Math.round(100 * neurons)} %`);
await engine[Symbol.asyncDispose]();

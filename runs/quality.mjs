// The quality table of the README: every method on every text, perplexity beside dense, from the
// serving kernels. After `npm install`:
//   node runs/quality.mjs [--model books-6m] [--limit 20000] [--methods a,b] FILE…
// Default texts: the bundled model's held-out excerpts. Prints a table, then one line of JSON.
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Engine, evaluate } from '../dist/index.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string', default: 'books-6m' },
    limit: { type: 'string' },
    methods: { type: 'string', default: 'dense,exact,predictor,oracle,static,random' },
    weights: { type: 'string', default: 'auto' },
    'max-loss': { type: 'string' },
  },
});
const excerpts = fileURLToPath(new URL('../models/books-6m/excerpts', import.meta.url));
const files = positionals.length
  ? positionals
  : readdirSync(excerpts).map((name) => join(excerpts, name));

const rows = [];
for (const method of values.methods.split(',')) {
  const guided = !['dense', 'exact'].includes(method);
  const engine = await Engine.open(values.model, {
    sparsity: method,
    weights: values.weights,
    ...(guided && values['max-loss'] ? { maxLoss: Number(values['max-loss']) } : {}),
  });
  for (const file of files) {
    const { results, density, bytesPerToken } = await evaluate(engine, ['perplexity'], {
      text: readFileSync(file, 'utf8'),
      ...(values.limit ? { limit: Number(values.limit) } : {}),
    });
    const { perplexity } = results.perplexity.metrics;
    const text = basename(file, '.txt');
    const dense = rows.find((row) => row.method === 'dense' && row.text === text)?.perplexity;
    rows.push({
      method,
      text,
      perplexity,
      loss: dense === undefined ? 0 : perplexity / dense - 1,
      neurons: density.neurons,
      heads: density.heads,
      bytes: (bytesPerToken.weights + bytesPerToken.predictor) / bytesPerToken.dense,
    });
    console.error(JSON.stringify(rows.at(-1)));
  }
  await engine[Symbol.asyncDispose]();
}

const percent = (x) => `${(100 * x).toFixed(2)} %`;
console.log('| method | text | perplexity | loss | neurons | heads | bytes read, of dense |');
console.log('|---|---|---|---|---|---|---|');
for (const row of rows) {
  const { method, text, perplexity, loss, neurons, heads, bytes } = row;
  const shares = [loss, neurons, heads, bytes].map(percent).join(' | ');
  console.log(`| ${method} | ${text} | ${perplexity.toFixed(3)} | ${shares} |`);
}
console.log(JSON.stringify(rows));

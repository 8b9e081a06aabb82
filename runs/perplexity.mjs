// Perplexity beside llama.cpp: the same ids in the same windows, by the same GGUF file. After
// `npm install` and `npm install --no-save --ignore-scripts node-llama-cpp@3.22`:
//   node runs/perplexity.mjs MODEL.gguf --text FILE [--limit 32768] [--window 512] [--stride 256]
//                            [--weights auto,f32] [--within 1%] [--threads 1]
// Ids are ours, without a BOS, and llama.cpp's are compared with them. Ours is `dejavu eval`, dense; llama.cpp
// runs on the CPU with its defaults but for the threads: more than the machine has free only wait for one another.
// Prints a table, then one line of JSON; exit status 1 where perplexities are further apart than said.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { getLlama, getModuleVersion, LlamaLogLevel } from 'node-llama-cpp';
import { windowsOf } from '../dist/eval/windows.js';
import { Engine, evaluate } from '../dist/index.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    text: { type: 'string' },
    limit: { type: 'string', default: '32768' },
    window: { type: 'string', default: '512' },
    stride: { type: 'string', default: '256' },
    weights: { type: 'string', default: 'auto' },
    within: { type: 'string', default: '1%' },
    threads: { type: 'string', default: '1' },
  },
});
const [path] = positionals;
if (positionals.length !== 1 || !values.text)
  throw new Error('expected one GGUF file and --text FILE');
const [limit, window, stride] = ['limit', 'window', 'stride'].map((name) => Number(values[name]));
const within = parseFloat(values.within) / 100;
const text = readFileSync(values.text, 'utf8');

const rows = [];
let ids;
for (const weights of values.weights.split(',')) {
  const engine = await Engine.open(path, { weights, sparsity: 'dense' });
  ids ??= engine.tokenizer.encode(text, { special: false });
  const options = { text, limit, window, stride };
  const { results, backend, timing } = await evaluate(engine, ['perplexity'], options);
  const { perplexity, nll, tokens } = results.perplexity.metrics;
  const by = `dejavu, ${backend}, --weights ${weights}`;
  rows.push({ by, perplexity, nll, tokens, seconds: timing.seconds });
  console.error(JSON.stringify(rows.at(-1)));
  await engine[Symbol.asyncDispose]();
}

const llama = await getLlama({ build: 'never', gpu: false, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: path });
const theirs = model.tokenize(text);
const different = ids.findIndex((id, i) => id !== theirs[i]);
const equalIds = different < 0 && ids.length === theirs.length;
if (!equalIds)
  console.error(`llama.cpp's ids differ from ours from ${different} on; ours are scored`);
const context = await model.createContext({
  contextSize: window,
  batchSize: window,
  threads: Number(values.threads),
});
const sequence = context.getSequence();

const start = performance.now();
let [sum, scored] = [0, 0];
for (const { start: from, first, end } of windowsOf(ids.length, { window, stride }, limit)) {
  await sequence.clearHistory();
  const input = ids.slice(from, end - 1).map((id, i) => {
    const at = from + i + 1;
    if (at < first) return id;
    // Greedy, so the chosen id is the likeliest; with its logit and the sum the target's is a probability.
    const logits = { filter: { tokens: [ids[at]], includeSelected: true } };
    return [id, { generateNext: { token: true, logits, totalLogitWeight: true } }];
  });
  const outputs = await sequence.controlledEvaluate(input);
  for (let at = first; at < end; at++) {
    const { token, logits, totalLogitWeight } = outputs[at - 1 - from].next;
    sum += logits.get(token) + Math.log(totalLogitWeight) - logits.get(ids[at]);
    scored++;
  }
}
const nll = sum / scored;
rows.push({
  by: `llama.cpp ${llama.llamaCppRelease.release} (node-llama-cpp ${await getModuleVersion()})`,
  perplexity: Math.exp(nll),
  nll,
  tokens: scored,
  seconds: (performance.now() - start) / 1000,
});
await llama.dispose();

const reference = rows.at(-1);
console.log('| by | perplexity | beside llama.cpp | ids scored | seconds |');
console.log('|---|---|---|---|---|');
for (const row of rows) {
  row.apart = row.perplexity / reference.perplexity - 1;
  const apart = row === reference ? '' : `${(100 * row.apart).toFixed(3)} %`;
  const { by, perplexity, tokens, seconds } = row;
  console.log(
    `| ${by} | ${perplexity.toFixed(4)} | ${apart} | ${tokens} | ${seconds.toFixed(0)} |`,
  );
}
console.log(JSON.stringify({ model: basename(path), text: basename(values.text), equalIds, rows }));
if (rows.some(({ apart, tokens }) => !(Math.abs(apart) < within) || tokens !== reference.tokens))
  process.exitCode = 1;

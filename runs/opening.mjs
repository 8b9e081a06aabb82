// How long a model takes to open, converted by the native backend and by the loaders' JavaScript, in turns, each
// in a process of its own. After `npm install` and `npm run build`:
//   node runs/opening.mjs MODEL [--weights auto,f16,int4] [--rounds 3]
// Prints the medians of seconds to load and of CPU seconds, and the highest memory of a process.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { Engine } from '../dist/index.js';
import { openNative } from '../dist/backends/native/index.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    weights: { type: 'string', default: 'auto' },
    rounds: { type: 'string', default: '3' },
    one: { type: 'string' },
  },
});
const [path] = positionals;
if (positionals.length !== 1) throw new Error('expected one model');

/** Open once, here. */
async function openOnce(weights, by) {
  if (by === 'JavaScript') {
    const backend = await openNative({ threads: 1 });
    Object.getPrototypeOf(backend).convert = undefined;
    await backend[Symbol.asyncDispose]();
  }
  const before = process.cpuUsage();
  const engine = await Engine.open(path, { backend: 'native', weights, sparsity: 'dense' });
  const { user, system } = process.cpuUsage(before);
  const megabytes = process.resourceUsage().maxRSS / 1024;
  console.log(JSON.stringify([engine.loadSeconds, (user + system) / 1e6, megabytes]));
  await engine[Symbol.asyncDispose]();
}

const median = (numbers) => numbers.sort((a, b) => a - b)[numbers.length >> 1];

if (values.one) await openOnce(values.weights, values.one);
else
  for (const weights of values.weights.split(',')) {
    const runs = { native: [], JavaScript: [] };
    for (let round = 0; round < Number(values.rounds); round++)
      for (const [by, measured] of Object.entries(runs)) {
        const args = [process.argv[1], path, '--weights', weights, '--one', by];
        const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
        if (status !== 0) throw new Error(stderr);
        measured.push(JSON.parse(stdout));
      }
    for (const [by, measured] of Object.entries(runs)) {
      const [seconds, cpu, memory] = [0, 1, 2].map((i) => median(measured.map((run) => run[i])));
      const text = `${seconds.toFixed(2)} s, ${cpu.toFixed(2)} s of CPU, ${memory.toFixed(0)} MiB`;
      console.log(`${weights}, by ${by}: ${text}`);
    }
  }

// The table of 4-bit formats in docs/log.md: perplexity over the excerpts, rounded and calibrated, by
// group and with and without a zero point. After `npm install`:
//   node runs/quantization.mjs [--model books-6m] [--text FILE]
// Without a text nothing is calibrated. Prints a table, then one line of JSON.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { quantize } from '../dist/index.js';

const { values } = parseArgs({
  options: { model: { type: 'string', default: 'books-6m' }, text: { type: 'string' } },
});
const text = values.text && readFileSync(values.text, 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'dejavu-quantization-'));
const rows = [];
console.log(['method', 'group', 'zero point', 'bytes', 'perplexity', 'change'].join('\t'));
try {
  for (const method of text ? ['rtn', 'gptq'] : ['rtn'])
    for (const zeroPoint of [false, true])
      for (const group of [32, 64, 128]) {
        const output = join(folder, `${method}-${group}-${zeroPoint}`);
        const calibrated = method === 'gptq' && { text };
        const options = { bits: 4, group, zeroPoint, method, output, ...calibrated };
        const { weightBytes, perplexity } = await quantize(values.model, options);
        const { before, after } = perplexity;
        rows.push({ method, group, zeroPoint, weightBytes, before, after });
        const change = `${(100 * (after / before - 1)).toFixed(2)} %`;
        console.log([method, group, zeroPoint, weightBytes, after.toFixed(3), change].join('\t'));
      }
} finally {
  rmSync(folder, { recursive: true });
}
console.log(JSON.stringify({ model: values.model, text: values.text ?? null, rows }));

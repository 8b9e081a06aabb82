import { expect, test } from 'vitest';
import { textsOf } from '../../test/support/svg-texts.ts';
import type { EvaluateResult } from '../eval/evaluate.ts';
import { plotCurves } from './curves.ts';
import type { CurvePoint } from '../eval/task.ts';

const point = (tokens: number, perplexity: number, msPerToken: number): CurvePoint => ({
  ...{ tokens, perplexity, msPerToken, residentBytes: 1e6 },
});

const result = (curve: readonly CurvePoint[]): EvaluateResult => ({
  model: 'a <model>',
  family: 'llama',
  backend: 'native',
  weights: 'int8',
  sparsity: 'dense',
  kv: { policy: 'streaming', type: 'f16', sinks: 4, heavy: 0, recent: 1020 },
  results: {
    perplexity: { metrics: { perplexity: 9 }, n: 5, version: 1 },
    stream: { metrics: { perplexity: 12.3 }, n: 40_000, version: 1, curve },
  },
  density: { neurons: 1, heads: 1, layers: [], read: {} },
  bytesPerToken: { weights: 1, predictor: 0, kv: 1, dense: 1 },
  timing: { loadSeconds: 1, seconds: 1 },
});

const curve = [point(10_000, 14, 2), point(20_000, 7, 4), point(40_000, 10.5, 3.3)];

test('well-formed: what was measured and how, a panel for each quantity, axes', () => {
  const svg = plotCurves(result(curve));
  expect(textsOf(svg)).toEqual(
    expect.arrayContaining([
      'a <model>',
      'kv streaming 4+1020 as f16 · sparsity dense · int8 weights · native',
      'stream: perplexity, 12.3 of all',
      'stream: ms a token',
      ...['0', '10k', '20k', '40k', '10.5', '3.30'],
    ]),
  );
  expect(svg).not.toMatch(/<script|href|url\(|NaN|undefined|Infinity/);
  expect(svg.match(/<path class="line line0"/g)).toHaveLength(2);
});

test('points lie where their tokens and values say, from 0 on', () => {
  const svg = plotCurves(result(curve));
  const [, path] = /class="line line0" d="M([^"]+)"/.exec(svg)!;
  const [a, b, c] = path.split('L').map((mark) => mark.split(' ').map(Number));
  expect((c[0] - b[0]) / (b[0] - a[0])).toBeCloseTo(2, 2);
  expect((c[1] - b[1]) / (b[1] - a[1])).toBeCloseTo(-0.5, 2);
  const [, zero] = /<path class="grid" d="M\d+ ([\d.]+)h/.exec(svg)!;
  expect((Number(zero) - a[1]) / (Number(zero) - b[1])).toBeCloseTo(2, 2);
});

test('a single point is drawn, too', () => {
  expect(plotCurves(result([point(7, 3, 0.02)]))).not.toMatch(/NaN|undefined|Infinity/);
});

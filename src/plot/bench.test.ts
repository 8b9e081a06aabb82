import { expect, test } from 'vitest';
import { textsOf } from '../../test/support/svg-texts.ts';
import type { BenchResult, BenchRun } from '../bench/bench.ts';
import type { PeerRun } from '../bench/peer-turns.ts';
import { plotBench } from './bench.ts';

const run = (method: string, phase: BenchRun['phase'], median: number): BenchRun => ({
  method,
  weights: 'int4',
  phase,
  batch: 1,
  context: 128,
  filled: 'prefill',
  kv: { policy: 'full', type: 'f32', budget: null, residentBytes: 1e6, keptTokens: 128 },
  tokensPerSecond: { median, min: median / 2, max: 2 * median },
  msPerToken: { median: 1000 / median, min: 500 / median, max: 2000 / median },
  speedup: { median: 1, min: 1, max: 1 },
  besideFull: null,
  bytesPerToken: { weights: 4e6, predictor: 1e5, kv: 2e5, dense: 4e6 },
  bandwidthShare: 0.42,
  density: { neurons: 1, heads: 1, layers: [], read: {} },
  predictorShare: 0,
  times: null,
  breakEven: null,
});

const peer: PeerRun = {
  name: 'llama.cpp',
  version: 'v1',
  isa: 'AVX2',
  architecture: 'gpt2 in place of opt: the same matrices',
  stored: 'Q4_0 in CPU',
  weights: 'int4',
  phase: 'decode',
  batch: 1,
  context: 128,
  tokensPerSecond: { median: 25.4, min: 20, max: 30 },
  bytesPerToken: { weights: 4e6, kv: 1e5 },
  bandwidthShare: 0.37,
  ratios: {},
};

const result: BenchResult = {
  machine: { cpu: 'A <fast> "CPU" & more', threads: 2, isa: 'avx512', bandwidthGBs: 26.04 },
  model: 'opt-1.3b',
  synthetic: true,
  runs: [run('dense', 'decode', 21), run('predictor', 'decode', 48), run('dense', 'prefill', 160)],
  peer,
  peers: [peer],
};

test('well-formed, with every method, the peer, the machine and what is random', () => {
  const svg = plotBench(result);
  const texts = textsOf(svg);
  expect(texts).toContain('opt-1.3b: random weights');
  expect(texts).toContain('A <fast> "CPU" & more, 2 threads, avx512, reads 26.0 GB/s');
  expect(texts).toContain(
    'llama.cpp v1, as gpt2 in place of opt: the same matrices, random weights',
  );
  expect(texts).toEqual(expect.arrayContaining(['dense', 'predictor', 'llama.cpp']));
  expect(texts).toEqual(
    expect.arrayContaining(['48.0', '25.4', '160', '42 %', '37 %', '4.30 MB', '4.10 MB']),
  );
  expect(texts.filter((one) => one.startsWith('int4 · '))).toEqual([
    'int4 · decode of a text, 128 tokens before',
    'int4 · prefill of 128 tokens',
  ]);
  expect(svg).not.toMatch(/<script|href|url\(|NaN|undefined|Infinity/);
  expect(svg).toContain('prefers-color-scheme:dark');
});

test('bars are as long as their medians, whiskers from the least to the most', () => {
  const svg = plotBench(result);
  const bars = [...svg.matchAll(/<rect class="(ours|peer)" x="174" y="\S+" width="(\S+?)"/g)];
  const [dense, predictor, llama] = bars.map(([, , width]) => Number(width));
  expect(predictor / dense).toBeCloseTo(48 / 21, 2);
  expect(llama / dense).toBeCloseTo(25.4 / 21, 2);
  expect(bars.map(([, kind]) => kind)).toEqual(['ours', 'ours', 'peer', 'ours']);
  const [, least, most] = /class="whisker" d="M(\S+?) \S+?H(\S+?)M/.exec(svg)!;
  expect((Number(most) - 174) / (Number(least) - 174)).toBeCloseTo(4, 2);
});

test('of several contexts, milliseconds over them, a curve for each policy', () => {
  const at = (context: number, policy: string, ms: number): BenchRun => {
    const one = run('dense', 'decode', 1000 / ms);
    return { ...one, context, filled: 'random', kv: { ...one.kv, policy } };
  };
  const svg = plotBench({
    ...result,
    peers: [],
    runs: [
      ...[at(1024, 'full', 10), at(4096, 'full', 25), at(65536, 'full', 100)],
      ...[at(1024, 'h2o', 5), at(4096, 'h2o', 5), at(65536, 'h2o', 50)],
    ],
  });
  const texts = textsOf(svg);
  expect(texts).toContain('int4 · decode of a text: ms a token, over the tokens before');
  expect(texts).toEqual(expect.arrayContaining(['1k', '4k', '64k', 'full 100', 'h2o 50.0']));
  expect(texts).toContain('keys and values of tokens before are random');
  expect(texts).toEqual(expect.arrayContaining(['full', 'h2o']));
  const curves = [
    ...svg.matchAll(/class="line line\d" d="M(\S+) (\S+)L(\S+) (\S+)L(\S+) (\S+)"/g),
  ].map(([, ...numbers]) => numbers.map(Number));
  expect(curves).toHaveLength(2);
  const [[x0, y0, x1, y1, x2, y2], h2o] = curves;
  // Four times the tokens are a third of the way to 64 times; heights are as the milliseconds.
  expect((x1 - x0) / (x2 - x0)).toBeCloseTo(1 / 3, 2);
  expect((y0 - y1) / (y1 - y2)).toBeCloseTo(15 / 75, 2);
  expect(h2o[1]).toBe(h2o[3]);
  expect(h2o[1] - h2o[5]).toBeCloseTo((45 / 75) * (y1 - y2), 1);
  expect(plotBench(result)).not.toMatch(/over the tokens before|are random/);
});

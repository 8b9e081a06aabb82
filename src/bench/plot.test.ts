import { expect, test } from 'vitest';
import { textsOf } from '../../test/svg-texts.ts';
import type { BenchResult, BenchRun } from './bench.ts';
import type { PeerRun } from './peer-turns.ts';
import { plotBench } from './plot.ts';

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
  density: { neurons: 1, heads: 1, layers: [] },
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
  const bars = [...svg.matchAll(/<rect class="(ours|peer)" x="144" y="\S+" width="(\S+?)"/g)];
  const [dense, predictor, llama] = bars.map(([, , width]) => Number(width));
  expect(predictor / dense).toBeCloseTo(48 / 21, 2);
  expect(llama / dense).toBeCloseTo(25.4 / 21, 2);
  expect(bars.map(([, kind]) => kind)).toEqual(['ours', 'ours', 'peer', 'ours']);
  const [, least, most] = /class="whisker" d="M(\S+?) \S+?H(\S+?)M/.exec(svg)!;
  expect((Number(most) - 144) / (Number(least) - 144)).toBeCloseTo(4, 2);
});

import { amount, chart, chartHeight, figure, picture, place, text } from './svg.ts';
import type { BenchResult } from '../bench/bench.ts';
import { nameOf, overContext } from './over-context.ts';
import type { Spread } from '../bench/spread.ts';

/** One line of the picture: what a method, or a peer, did in one phase. */
interface Bar {
  readonly name: string;
  readonly ours: boolean;
  readonly speed: Spread;
  readonly bandwidthShare: number;
  readonly bytes: number;
}

/** Bars that are compared with one another, on scales of their own. */
interface Panel {
  readonly title: string;
  readonly bars: readonly Bar[];
}

const width = 960;
const margin = 24;
const nameWidth = 150;
const rowHeight = 26;
const barHeight = 12;
/** Left edge of each column, and the longest bar in it; a figure follows each bar. */
const columns = {
  speed: { title: 'tokens/s: median, least to most', x: margin + nameWidth, length: 250 },
  bandwidth: { title: 'of the bandwidth', x: 590, length: 90 },
  bytes: { title: 'bytes read a token', x: 770, length: 80 },
} as const;

/** Speeds, shares of the bandwidth and bytes of every method and peer; and over contexts, of several. */
export function plotBench(result: BenchResult): string {
  const { machine, model, synthetic, peer } = result;
  const { cpu, threads, isa, bandwidthGBs } = machine;
  const panels = panelsOf(result);
  const parts: string[] = [];
  let y = margin + 18;
  parts.push(text(margin, y, `${model}${synthetic ? ': random weights' : ''}`, 'title'));
  y += 20;
  const where = `${cpu}, ${threads} threads, ${isa}, reads ${bandwidthGBs.toFixed(1)} GB/s`;
  parts.push(text(margin, y, where, 'quiet'));
  if (result.runs.some(({ filled }) => filled === 'random')) {
    y += 18;
    parts.push(text(margin, y, 'keys and values of tokens before are random', 'quiet'));
  }
  if (peer) {
    y += 18;
    const { name, version, architecture } = peer;
    parts.push(text(margin, y, `${name} ${version}, as ${architecture}, random weights`, 'quiet'));
  }
  for (const over of overContext(result.runs)) {
    parts.push(...chart(over, width, y + 18));
    y += 18 + chartHeight;
  }
  for (const panel of panels) {
    y += 36;
    parts.push(text(margin, y, panel.title, 'panel'));
    y += 18;
    for (const { title, x } of Object.values(columns)) parts.push(text(x, y, title, 'quiet'));
    const fastest = Math.max(...panel.bars.map(({ speed }) => speed.max));
    const most = Math.max(...panel.bars.map(({ bytes }) => bytes));
    const highest = Math.max(1, ...panel.bars.map(({ bandwidthShare }) => bandwidthShare));
    y += 4;
    for (const bar of panel.bars) {
      parts.push(...row(bar, y, { fastest, most, highest }));
      y += rowHeight;
    }
  }
  const height = y + margin;
  return picture({ width, height }, `Speed of ${model}`, parts);
}

function panelsOf({ runs, peers = [] }: BenchResult): Panel[] {
  const panels = new Map<string, Bar[]>();
  const nameIn = nameOf(runs);
  const add = (
    run: { weights: string; phase: string; batch: number; context: number },
    bar: Bar,
  ): void => {
    const of =
      run.phase === 'decode' ? ` of ${texts(run.batch)}, ${run.context} tokens before` : '';
    const title = `${run.weights} · ${run.phase}${of || ` of ${run.context} tokens`}`;
    panels.set(title, [...(panels.get(title) ?? []), bar]);
  };
  for (const run of runs) {
    const { weights, predictor, kv } = run.bytesPerToken;
    const { tokensPerSecond: speed, bandwidthShare } = run;
    add(run, {
      name: nameIn(run),
      ours: true,
      speed,
      bandwidthShare,
      bytes: weights + predictor + kv,
    });
  }
  for (const run of peers) {
    const { weights, kv } = run.bytesPerToken;
    const { name, tokensPerSecond: speed, bandwidthShare } = run;
    add(run, { name, ours: false, speed, bandwidthShare, bytes: weights + kv });
  }
  return [...panels].map(([title, bars]) => ({ title, bars }));
}

const texts = (count: number): string => (count === 1 ? 'a text' : `${count} texts together`);

function row(
  { name, ours, speed, bandwidthShare, bytes }: Bar,
  top: number,
  scale: { fastest: number; most: number; highest: number },
): string[] {
  const { speed: first, bandwidth, bytes: last } = columns;
  const kind = ours ? 'ours' : 'peer';
  const middle = top + rowHeight / 2;
  const base = middle + 4;
  const at = (rate: number): number => first.x + (first.length * rate) / scale.fastest;
  const [least, most] = [at(speed.min), at(speed.max)];
  const shareLength = (bandwidth.length * bandwidthShare) / scale.highest;
  const byteLength = (last.length * bytes) / scale.most;
  return [
    text(margin, base, name, 'name'),
    rectangle(first.x, middle, at(speed.median) - first.x, kind),
    `<path class="whisker" d="M${place(least)} ${middle}H${place(most)}M${place(least)} ${middle - 4}v8M${place(most)} ${middle - 4}v8"/>`,
    text(Math.max(most, at(speed.median)) + 8, base, figure(speed.median), 'figure'),
    rectangle(bandwidth.x, middle, shareLength, kind),
    text(bandwidth.x + shareLength + 8, base, `${(100 * bandwidthShare).toFixed(0)} %`, 'figure'),
    rectangle(last.x, middle, byteLength, kind),
    text(last.x + byteLength + 8, base, amount(bytes), 'figure'),
  ];
}

const rectangle = (x: number, middle: number, length: number, kind: string): string =>
  `<rect class="${kind}" x="${x}" y="${middle - barHeight / 2}" width="${place(Math.max(1, length))}" height="${barHeight}" rx="2"/>`;

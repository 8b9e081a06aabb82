import { describePolicy } from '../kv/budget.ts';
import { figure, picture, place, text } from '../svg.ts';
import type { EvaluateResult } from './evaluate.ts';
import type { CurvePoint } from './task.ts';

/** One curve over the tokens of a text. */
interface Panel {
  readonly title: string;
  readonly points: readonly { readonly tokens: number; readonly value: number }[];
}

const width = 960;
const margin = 24;
/** Where curves begin, how wide and high they are. */
const left = margin + 48;
const across = width - left - margin - 40;
const high = 180;

/** Perplexity and time of each task that has a curve, over the tokens of its text. */
export function plotCurves(result: EvaluateResult): string {
  const { model, backend, weights, sparsity, kv, results } = result;
  const { policy: name, sinks, heavy, recent = Infinity } = kv;
  const policy = describePolicy({ name, sinks, heavy, recent });
  const how = [`kv ${policy} as ${kv.type}`, `sparsity ${sparsity}`, `${weights} weights`, backend];
  const parts = [
    text(margin, margin + 18, model, 'title'),
    text(margin, margin + 38, how.join(' · '), 'quiet'),
  ];
  let y = margin + 38;
  for (const [task, { curve, metrics }] of Object.entries(results))
    for (const panel of curve ? panelsOf(task, curve, metrics.perplexity) : []) {
      parts.push(...draw(panel, y + 36));
      y += 36 + 14 + high + 24;
    }
  return picture({ width, height: y + margin }, `Curves of ${model}`, parts);
}

const panelsOf = (task: string, curve: readonly CurvePoint[], perplexity: number): Panel[] => [
  {
    title: `${task}: perplexity, ${figure(perplexity)} of all`,
    points: curve.map(({ tokens, perplexity: value }) => ({ tokens, value })),
  },
  {
    title: `${task}: ms a token`,
    points: curve.map(({ tokens, msPerToken: value }) => ({ tokens, value })),
  },
];

/** A title at `top`, and the curve below it on axes that begin at 0. */
function draw({ title, points }: Panel, top: number): string[] {
  const last = points[points.length - 1];
  const most = Math.max(...points.map(({ value }) => value));
  const rows = ticks(most, 4);
  const highest = rows[rows.length - 1];
  const bottom = top + 14 + high;
  const x = (tokens: number): number => left + (across * tokens) / last.tokens;
  const y = (value: number): number => bottom - (high * value) / highest;
  const marks = points.map(({ tokens, value }) => `${place(x(tokens))} ${place(y(value))}`);
  return [
    text(margin, top, title, 'panel'),
    ...rows.flatMap((value) => [
      `<path class="grid" d="M${left} ${place(y(value))}h${across}"/>`,
      text(left - 8, y(value) + 4, short(value), 'quiet', 'end'),
    ]),
    ...ticks(last.tokens, 6)
      .filter((tokens) => tokens <= last.tokens)
      .map((tokens) => text(x(tokens), bottom + 18, short(tokens), 'quiet', 'middle')),
    `<path class="line" d="M${marks.join('L')}"/>`,
    `<circle class="ours" cx="${place(x(last.tokens))}" cy="${place(y(last.value))}" r="3"/>`,
    text(x(last.tokens) + 8, y(last.value) + 4, figure(last.value), 'figure'),
  ];
}

/** Round numbers from 0 to `most` or the next above it, `count` steps or so. */
function ticks(most: number, count: number): number[] {
  const rough = most / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((n) => n * power >= rough)!;
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, i) => i * step);
}

/** 20k for 20,000, and no digits that a step's rounding made. */
function short(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(6))}M`;
  if (value >= 1e4) return `${Number((value / 1e3).toPrecision(6))}k`;
  return String(Number(value.toPrecision(6)));
}

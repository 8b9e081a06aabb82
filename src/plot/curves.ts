import { describeBudget } from '../kv/parts/budget.ts';
import { chart, type Chart, chartHeight, figure, picture, short, text, ticks } from './svg.ts';
import type { EvaluateResult } from '../eval/evaluate.ts';
import type { CurvePoint } from '../eval/task.ts';

const width = 960;
const margin = 24;

/** Perplexity and time of each task that has a curve, over the tokens of its text. */
export function plotCurves(result: EvaluateResult): string {
  const { model, backend, weights, sparsity, kv, results } = result;
  const { policy: name, sinks, heavy, recent = Infinity } = kv;
  const policy = describeBudget(name, { sinks, heavy, recent });
  const how = [`kv ${policy} as ${kv.type}`, `sparsity ${sparsity}`, `${weights} weights`, backend];
  const parts = [
    text(margin, margin + 18, model, 'title'),
    text(margin, margin + 38, how.join(' · '), 'quiet'),
  ];
  let y = margin + 38;
  for (const [task, { curve, metrics }] of Object.entries(results))
    for (const panel of curve ? chartsOf(task, curve, metrics.perplexity) : []) {
      parts.push(...chart(panel, width, y + 18));
      y += chartHeight + 18;
    }
  return picture({ width, height: y + margin }, `Curves of ${model}`, parts);
}

function chartsOf(task: string, curve: readonly CurvePoint[], perplexity: number): Chart[] {
  const last = curve[curve.length - 1].tokens;
  const marks = ticks(last, 6).filter((tokens) => tokens <= last);
  const over = (title: string, value: (point: CurvePoint) => number): Chart => ({
    title: `${task}: ${title}`,
    curves: [{ name: '', points: curve.map((point) => ({ x: point.tokens, y: value(point) })) }],
    axis: { at: (x) => x / last, marks: marks.map((x) => ({ x, label: short(x) })) },
    names: 40,
  });
  return [
    over(`perplexity, ${figure(perplexity)} of all`, (point) => point.perplexity),
    over('ms a token', (point) => point.msPerToken),
  ];
}

import type { Axis, Chart, Curve } from './svg.ts';
import type { BenchRun } from '../bench/bench.ts';

/** What tells runs apart that are compared: policies where there are several, methods where there are. */
export function nameOf(runs: readonly BenchRun[]): (run: BenchRun) => string {
  const several = (of: (run: BenchRun) => string): boolean => new Set(runs.map(of)).size > 1;
  const policies = several(({ kv }) => kv.policy);
  const methods = !policies || several(({ method }) => method);
  return ({ method, kv }) =>
    [...(methods ? [method] : []), ...(policies ? [kv.policy] : [])].join(', ');
}

/** 16k for 16,384. */
export const tokensLabel = (tokens: number): string =>
  tokens % 1024 === 0 ? `${tokens / 1024}k` : String(tokens);

/**
 * How long a text waits for a token, over the tokens before it, of every method and policy: a chart for each
 * type of weights and number of texts. None where there is one context.
 */
export function overContext(runs: readonly BenchRun[]): Chart[] {
  const contexts = [...new Set(runs.map(({ context }) => context))].sort((a, b) => a - b);
  if (contexts.length < 2) return [];
  const [least, most] = [contexts[0], contexts[contexts.length - 1]];
  const axis: Axis = {
    at: (tokens) => Math.log2(tokens / least) / Math.log2(most / least),
    marks: contexts.map((x) => ({ x, label: tokensLabel(x) })),
  };
  const name = nameOf(runs);
  const charts = new Map<string, BenchRun[]>();
  for (const run of runs.filter(({ phase }) => phase === 'decode')) {
    const texts = run.batch === 1 ? 'a text' : `${run.batch} texts together`;
    const title = `${run.weights} · decode of ${texts}: ms a token, over the tokens before`;
    charts.set(title, [...(charts.get(title) ?? []), run]);
  }
  return [...charts].map(([title, of]) => ({
    title,
    curves: curvesOf(of, name),
    axis,
    names: 150,
  }));
}

function curvesOf(runs: readonly BenchRun[], name: (run: BenchRun) => string): Curve[] {
  const names = [...new Set(runs.map(name))];
  return names.map((one) => ({
    name: one,
    points: runs
      .filter((run) => name(run) === one)
      .map(({ context, msPerToken }) => ({ x: context, y: msPerToken.median }))
      .sort((a, b) => a.x - b.x),
  }));
}

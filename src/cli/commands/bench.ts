import type { BenchResult, BenchRun } from '../../bench/bench.ts';
import { savePlot } from '../../bench/plot.ts';
import { bench as measure } from '../../bench/run.ts';
import type { Spread } from '../../bench/spread.ts';
import type { PeerRun } from '../../bench/peer-turns.ts';
import { EngineError } from '../../errors.ts';
import { command } from '../command.ts';
import { benchFlags } from '../flags.ts';
import { note } from '../io.ts';
import { bytes, percent, rate, table } from '../layout.ts';
import { availableMemory } from '../memory.ts';
import { startProgress } from '../progress.ts';

export const bench = command({
  name: 'bench',
  summary: 'speed and bytes of every method, on a model or on a shape',
  model: 'optional',
  flags: benchFlags,
  async run({ model, flags, io }) {
    const { shape, rank, weights, methods, plot, ...options } = flags;
    const target = {
      ...(model !== undefined && { model }),
      ...(shape !== undefined && { shape }),
      ...(rank !== undefined && { rank }),
      ...(weights && { weights }),
      ...(methods && { methods }),
    };
    using progress = startProgress(io);
    const result = await measure(target, {
      memoryLimit: availableMemory(),
      ...options,
      signal: io.signal,
      onNote: (line) => note(io, `note: ${line}`),
      onRound: (round, rounds) => progress.update(round / rounds, `round ${round} of ${rounds}`),
    });
    const text = describe(result);
    const failure = plot === undefined ? undefined : await draw(plot, result);
    return { result, text, ...(failure && { failure }) };
  },
});

/** What was measured is printed even where it cannot be drawn. */
async function draw(path: string, result: BenchResult): Promise<EngineError | undefined> {
  try {
    await savePlot(path, result);
    return undefined;
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
}

function describe({ machine, model, synthetic, runs, peers = [] }: BenchResult): string {
  const { cpu, threads, isa, bandwidthGBs } = machine;
  const [peer] = peers;
  return [
    `${cpu}, ${threads} threads, ${isa}, reads ${bandwidthGBs.toFixed(1)} GB/s\n`,
    `${model}${synthetic ? ', random weights: speed and bytes mean something, text does not' : ''}\n\n`,
    table([
      [
        ...['method', 'weights', 'phase', 'batch', 'tokens/s (min–max)', 'beside the first'],
        ...(peer ? [`beside ${peer.name}`] : []),
        ...['read a token', 'of bandwidth', 'neurons', 'heads'],
      ],
      ...runs.map((run) => row(run, peers)),
      ...peers.map(peerRow),
    ]),
    ...runs.flatMap(breakEven),
    ...timesTable(runs),
    ...new Set(peers.map(about)),
  ].join('');
}

/** Where the time of decode steps goes. */
function timesTable(runs: readonly BenchRun[]): string[] {
  const rows = runs.flatMap(({ method, weights, batch, times }) =>
    times ? [[method, weights, String(batch), ...Object.values(times).map(percent)]] : [],
  );
  if (!rows.length) return [];
  const heads = ['whole matrices', 'selected rows', 'attention', 'choosing', 'the rest', 'waiting'];
  return [
    '\nwhere the time of decode steps goes\n',
    table([['method', 'weights', 'batch', ...heads], ...rows]),
  ];
}

/** Where several texts together choose less than all. */
function breakEven({ method, weights, batch, breakEven: limits }: BenchRun): string[] {
  if (!limits || (limits.neurons === 1 && limits.heads === 1)) return [];
  const [neurons, heads] = [percent(limits.neurons), percent(limits.heads)];
  return [
    `${method}, ${weights}, batch ${batch}: layers that expect more than ${neurons} of the neurons or ${heads} of the heads compute all\n`,
  ];
}

function row(run: BenchRun, peers: readonly PeerRun[]): string[] {
  const { weights, predictor, kv } = run.bytesPerToken;
  const beside = peers.find(
    (peer) => peer.weights === run.weights && peer.phase === run.phase && peer.batch === run.batch,
  );
  return [
    ...[run.method, run.weights, run.phase, String(run.batch), speed(run.tokensPerSecond)],
    ratio(run.speedup),
    ...(beside ? [ratio(beside.ratios[run.method])] : []),
    bytes(weights + predictor + kv),
    percent(run.bandwidthShare),
    percent(run.density.neurons),
    percent(run.density.heads),
  ];
}

function peerRow(run: PeerRun): string[] {
  const { weights, kv } = run.bytesPerToken;
  return [
    ...[run.name, run.weights, run.phase, String(run.batch), speed(run.tokensPerSecond), '', ''],
    ...[bytes(weights + kv), percent(run.bandwidthShare)],
  ];
}

/** What a peer is, and as what it ran. */
const about = ({ name, version, weights, architecture, stored, isa }: PeerRun): string =>
  `${name} ${version}, ${weights}: ${architecture}, random weights, ${stored}; ${isa}\n`;

const speed = (rates: Spread): string => `${rate(rates.median)} (${range(rates, rate)})`;

const ratio = (ratios: Spread): string =>
  `${ratios.median.toFixed(2)}× (${range(ratios, (x) => x.toFixed(2))})`;

const range = ({ min, max }: Spread, format: (x: number) => string): string =>
  `${format(min)}–${format(max)}`;

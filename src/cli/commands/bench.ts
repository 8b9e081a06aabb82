import type { BenchResult, BenchRun } from '../../bench/bench.ts';
import { plotBench } from '../../plot/bench.ts';
import { tokensLabel } from '../../plot/over-context.ts';
import { bench as measure } from '../../bench/run.ts';
import type { Spread } from '../../bench/spread.ts';
import type { PeerRun } from '../../bench/peer-turns.ts';
import { skips } from '../../sparsity.ts';
import { command } from '../command.ts';
import { draw } from '../draw.ts';
import { benchFlags } from '../flags.ts';
import { note } from '../io.ts';
import { bytes, percent, rate, table } from '../layout.ts';
import { availableMemory } from '../memory.ts';
import { inFlags } from '../library-names.ts';
import { startProgress } from '../progress.ts';

export const bench = command({
  name: 'bench',
  summary: 'speed and bytes of every method, on a model or on a shape',
  model: 'optional',
  flags: benchFlags,
  async run({ model, flags, io }) {
    const { shape, layers, rank, predictorType, weights, methods, plot, ...options } = flags;
    const target = {
      ...(model !== undefined && { model }),
      ...(shape !== undefined && { shape }),
      ...(layers !== undefined && { layers }),
      ...(rank !== undefined && { rank }),
      ...(predictorType !== undefined && { predictorType }),
      ...(weights && { weights }),
      ...(methods && { methods }),
    };
    using progress = startProgress(io);
    const result = await measure(target, {
      memoryLimit: availableMemory(),
      ...options,
      signal: io.signal,
      onNote: (line) => note(io, `note: ${inFlags(line)}`),
      onRound: (round, rounds) => progress.update(round / rounds, `round ${round} of ${rounds}`),
    });
    const text = describe(result);
    const failure = plot === undefined ? undefined : await draw(plot, plotBench(result));
    return { result, text, ...(failure && { failure }) };
  },
});

function describe(result: BenchResult): string {
  const { machine, model, synthetic, stack, predictors, runs, peers = [] } = result;
  const { cpu, threads, isa, bandwidthGBs } = machine;
  const [peer] = peers;
  const caches = comparesCaches(runs);
  return [
    `${cpu}, ${threads} threads, ${isa}, reads ${bandwidthGBs.toFixed(1)} GB/s\n`,
    `${model}${synthetic ? ', random weights: speed and bytes mean something, text does not' : ''}\n`,
    ...(predictors
      ? [
          `predictors of neurons: ${predictors.type} of rank ${[...new Set(predictors.ranks)].join(', ')}\n`,
        ]
      : []),
    ...(stack ? [`embeddings and head know ${stack.vocabulary} ids and count for nothing\n`] : []),
    '\n',
    table([
      [
        ...keyHeads(caches),
        ...['tokens/s (min–max)', 'ms/token', 'beside the first'],
        ...(peer ? [`beside ${peer.name}`] : []),
        ...['read a token', 'of bandwidth', 'neurons', 'heads'],
      ],
      ...runs.map((run) => row(run, peers, caches)),
      ...peers.map(peerRow),
    ]),
    ...runs.flatMap(breakEven),
    ...(caches ? cacheTable(runs) : []),
    ...timesTable(runs, caches),
    ...new Set(peers.map(about)),
  ].join('');
}

/** There is more to say of caches than how many tokens a prefill put into one that keeps all. */
const comparesCaches = (runs: readonly BenchRun[]): boolean =>
  runs.some(
    ({ kv, filled, context }) =>
      kv.budget !== null ||
      kv.type !== 'f32' ||
      filled !== 'prefill' ||
      context !== runs[0].context,
  );

const keyHeads = (caches: boolean): string[] => [
  ...['method', 'weights', 'phase', 'batch'],
  ...(caches ? ['context', 'kv'] : []),
];

/** What tells a run from others. */
const keys = (
  { method, weights, phase, batch, context, kv }: BenchRun,
  caches: boolean,
): string[] => [
  ...[method, weights, phase, String(batch)],
  ...(caches ? [tokensLabel(context), kv.policy] : []),
];

/** What caches keep and cost, and what that brings beside one that keeps all. */
function cacheTable(runs: readonly BenchRun[]): string[] {
  const rows = runs
    .filter(({ phase }) => phase === 'decode')
    .map((run) => {
      const { kv, besideFull, bytesPerToken, filled } = run;
      return [
        ...keys(run, true),
        besideFull ? ratio(besideFull) : '',
        kv.type,
        String(kv.keptTokens),
        bytes(kv.residentBytes),
        bytes(bytesPerToken.kv),
        filled === 'random' ? 'made up' : 'computed',
      ];
    });
  const heads = ['beside full', 'type', 'tokens kept', 'in memory', 'read a token', 'content'];
  const madeUp = runs.some(({ filled }) => filled === 'random');
  return [
    '\nkeys and values\n',
    table([[...keyHeads(true), ...heads], ...rows]),
    ...(madeUp
      ? ['made up: random keys and values stand for those of the tokens before; steps are real\n']
      : []),
  ];
}

/** Where the time of decode steps goes. */
function timesTable(runs: readonly BenchRun[], caches: boolean): string[] {
  const rows = runs.flatMap((run) =>
    run.times
      ? [[...keys(run, caches), ...Object.values<number>({ ...run.times }).map((x) => percent(x))]]
      : [],
  );
  if (!rows.length) return [];
  const heads = ['whole matrices', 'selected rows', 'attention', 'choosing', 'the rest', 'waiting'];
  return [
    '\nwhere the time of decode steps goes\n',
    table([[...keyHeads(caches), ...heads], ...rows]),
  ];
}

const skipped = {
  ...{ heads: 'heads', neurons: 'neurons' },
  ...{ carried: 'carried neurons', inputs: 'inputs' },
};

/** Where several texts together choose less than all. */
function breakEven({ method, weights, batch, breakEven: limits }: BenchRun): string[] {
  if (!limits || Object.values(limits).every((limit) => limit === 1)) return [];
  const shares = skips
    .filter((skip) => limits[skip] < 1)
    .map((skip) => `${percent(limits[skip])} of the ${skipped[skip]}`);
  return [
    `${method}, ${weights}, batch ${batch}: layers that expect more than ${shares.join(' or ')} compute all\n`,
  ];
}

function row(run: BenchRun, peers: readonly PeerRun[], caches: boolean): string[] {
  const { weights, predictor, kv } = run.bytesPerToken;
  const beside = peers.find(
    (peer) => peer.weights === run.weights && peer.phase === run.phase && peer.batch === run.batch,
  );
  return [
    ...keys(run, caches),
    ...[speed(run.tokensPerSecond), rate(run.msPerToken.median), ratio(run.speedup)],
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
    ...[
      run.name,
      run.weights,
      run.phase,
      String(run.batch),
      speed(run.tokensPerSecond),
      '',
      '',
      '',
    ],
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

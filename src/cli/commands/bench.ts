import type { BenchResult, BenchRun } from '../../bench/bench.ts';
import { bench as measure } from '../../bench/run.ts';
import type { Spread } from '../../bench/spread.ts';
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
    const { shape, weights, methods, ...options } = flags;
    const target = {
      ...(model !== undefined && { model }),
      ...(shape !== undefined && { shape }),
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
    return { result, text: describe(result) };
  },
});

function describe({ machine, model, synthetic, runs }: BenchResult): string {
  const { cpu, threads, isa, bandwidthGBs } = machine;
  return [
    `${cpu}, ${threads} threads, ${isa}, reads ${bandwidthGBs.toFixed(1)} GB/s\n`,
    `${model}${synthetic ? ', random weights: speed and bytes mean something, text does not' : ''}\n\n`,
    table([
      [
        'method',
        'weights',
        'phase',
        'batch',
        'tokens/s (min–max)',
        'beside the first',
        'read a token',
      ].concat(['of bandwidth', 'neurons', 'heads', 'time for selecting']),
      ...runs.map(row),
    ]),
    ...runs.flatMap(breakEven),
  ].join('');
}

/** Where several texts together choose less than all. */
function breakEven({ method, weights, batch, breakEven: limits }: BenchRun): string[] {
  if (!limits || (limits.neurons === 1 && limits.heads === 1)) return [];
  const [neurons, heads] = [percent(limits.neurons), percent(limits.heads)];
  return [
    `${method}, ${weights}, batch ${batch}: layers that expect more than ${neurons} of the neurons or ${heads} of the heads compute all\n`,
  ];
}

function row(run: BenchRun): string[] {
  const { weights, predictor, kv } = run.bytesPerToken;
  return [
    run.method,
    run.weights,
    run.phase,
    String(run.batch),
    `${rate(run.tokensPerSecond.median)} (${spread(run.tokensPerSecond, rate)})`,
    `${run.speedup.median.toFixed(2)}× (${spread(run.speedup, (x) => x.toFixed(2))})`,
    bytes(weights + predictor + kv),
    percent(run.bandwidthShare),
    percent(run.density.neurons),
    percent(run.density.heads),
    percent(run.predictorShare),
  ];
}

const spread = ({ min, max }: Spread, format: (x: number) => string): string =>
  `${format(min)}–${format(max)}`;

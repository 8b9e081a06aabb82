import os from 'node:os';
import type { BackendInfo } from '../backend.ts';
import { full } from '../kv/full.ts';
import { Session } from '../engine/session.ts';
import { Recorder } from '../program.ts';
import type { Sparsity } from '../sparsity.ts';
import { type BytesPerToken, type Density, Usage } from '../engine/usage.ts';
import type { Subject } from './subject.ts';

export interface BenchOptions {
  /** Tokens in the cache when decoding begins, and tokens of a prefill. Default 128. */
  readonly context?: number;
  /** Decode steps of one round. Default 16. */
  readonly steps?: number;
  /** Rounds; every method runs once in each. Default 7. */
  readonly rounds?: number;
  readonly onRound?: (round: number, rounds: number) => void;
  readonly signal?: AbortSignal;
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface BenchRun {
  readonly method: string;
  readonly weights: string;
  readonly phase: 'decode' | 'prefill';
  readonly batch: number;
  readonly context: number;
  readonly tokensPerSecond: Spread;
  /** Speed beside dense's in the same round. */
  readonly speedup: Spread;
  /** Bytes read for each token; of a prefill, for the whole of it divided by its tokens. */
  readonly bytesPerToken: BytesPerToken;
  /** Bytes read per second, as a share of the measured bandwidth. */
  readonly bandwidthShare: number;
  readonly density: Density;
  /** Share of the bytes read that are the predictor's. */
  readonly predictorShare: number;
}

export interface Machine {
  readonly cpu: string;
  readonly threads: number;
  readonly isa: string;
  readonly bandwidthGBs: number;
}

export interface BenchResult {
  readonly machine: Machine;
  readonly model: string;
  readonly synthetic: boolean;
  readonly runs: readonly BenchRun[];
}

/** The processor and what it can read in a second. */
export function describeMachine(info: BackendInfo, bandwidthGBs: number): Machine {
  return {
    cpu: os.cpus()[0]?.model ?? 'unknown',
    threads: info.threads,
    isa: info.isa ?? 'none',
    bandwidthGBs,
  };
}

interface Entrant {
  readonly method: Sparsity;
  readonly session: Session;
  readonly usage: Usage;
  readonly decode: number[];
}

/**
 * Measure every method of a subject: decode through the method, and prefill, dense whatever the method.
 *
 * Methods take turns within each round, so that a machine that slows down slows them all; figures are
 * medians over rounds, ratios are formed within a round.
 */
export async function benchSubject(
  subject: Subject,
  bandwidthGBs: number,
  options: BenchOptions = {},
): Promise<BenchRun[]> {
  const { context = 128, steps = 16, rounds = 7, signal } = options;
  const { backend, model, weights } = subject;
  const { layers, vocabulary } = model.description;
  const capacity = context + steps;
  const prompt = Int32Array.from({ length: context }, (_, i) => (i * 7919 + 13) % vocabulary);
  const entrants: Entrant[] = subject.methods.map((method) => {
    const session = new Session(backend, model, { method, policy: full, capacity });
    const usage = new Usage(layers, session.denseBytes());
    return { method, session, usage, decode: [] };
  });
  const prefill: number[] = [];
  try {
    for (let round = -1; round < rounds; round++) {
      for (const entrant of entrants) {
        const { session, usage, decode } = entrant;
        signal?.throwIfAborted();
        // The first round records programs and warms caches; later ones keep the prompt's cache.
        if (round < 0 || entrant === entrants[0]) {
          session.truncate(0);
          const seconds = await timed(() => session.prefill(prompt));
          if (round >= 0) prefill.push(context / seconds);
        }
        session.truncate(context);
        const seconds = await timed(async () => {
          for (let i = 0; i < steps; i++) await session.decode(prompt[i]);
        });
        if (round < 0) continue;
        decode.push(steps / seconds);
        usage.add(await session.usage());
      }
      options.onRound?.(round + 1, rounds);
    }
    const [first] = entrants;
    const runs: BenchRun[] = [];
    for (const entrant of entrants) {
      const { method, usage, decode } = entrant;
      const bytesPerToken = usage.bytesPerToken();
      const read = bytesPerToken.weights + bytesPerToken.predictor + bytesPerToken.kv;
      const tokensPerSecond = spread(decode);
      runs.push({
        method: method.name,
        weights,
        phase: 'decode',
        batch: 1,
        context,
        tokensPerSecond,
        speedup: spread(decode.map((rate, i) => rate / first.decode[i])),
        bytesPerToken,
        bandwidthShare: (read * tokensPerSecond.median) / (bandwidthGBs * 1e9),
        density: usage.density(),
        predictorShare: (await selectionSeconds(subject, method)) * tokensPerSecond.median,
      });
    }
    const bytes = first.usage.bytesPerToken().dense / context;
    const tokensPerSecond = spread(prefill);
    runs.push({
      method: first.method.name,
      weights,
      phase: 'prefill',
      batch: 1,
      context,
      tokensPerSecond,
      speedup: { median: 1, min: 1, max: 1 },
      bytesPerToken: { weights: bytes, predictor: 0, kv: 0, dense: bytes },
      bandwidthShare: (bytes * tokensPerSecond.median) / (bandwidthGBs * 1e9),
      density: new Usage(layers, 0).density(),
      predictorShare: 0,
    });
    return runs;
  } finally {
    for (const { session } of entrants) session[Symbol.dispose]();
  }
}

/** Seconds one step's selections take alone: predictors and top-k of all layers, nothing else. */
async function selectionSeconds({ backend, model }: Subject, method: Sparsity): Promise<number> {
  const { layers, hiddenSize, neurons, heads } = model.description;
  const positions = backend.allocate('i32', [1], 'state');
  const x = backend.allocate('f32', [1, hiddenSize], 'state');
  const truths = {
    heads: backend.allocate('f32', [1, heads], 'state'),
    neurons: backend.allocate('f32', [1, neurons], 'state'),
  };
  const g = new Recorder();
  const selector = method.begin(g, { positions });
  for (let layer = 0; layer < layers; layer++)
    for (const site of ['heads', 'neurons'] as const)
      selector.select(site, layer, x, () => truths[site]);
  const program = backend.compile(g.finish());
  const times: number[] = [];
  for (let i = 0; i < 15; i++) times.push(await timed(() => backend.run(program)));
  program.release();
  for (const tensor of [positions, x, truths.heads, truths.neurons]) backend.free(tensor);
  return g.commands.length ? spread(times).median : 0;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted[sorted.length - 1] };
}

import os from 'node:os';
import type { BackendInfo } from '../backend.ts';
import { Batch } from '../engine/batch.ts';
import { BreakEven, type BreakEvenRule } from '../engine/break-even.ts';
import { EngineError } from '../errors.ts';
import { full } from '../kv/full.ts';
import type { Limits, Sparsity } from '../sparsity.ts';
import type { StepTimes } from '../engine/step-times.ts';
import { type BytesPerToken, type Density, Usage } from '../engine/usage.ts';
import type { OpenedPeer, PeerSession } from './peer.ts';
import { type OurRates, type PeerRun, PeerTurns } from './peer-turns.ts';
import { ratio, type Spread, spread, timed } from './spread.ts';
import type { Subject } from './subject.ts';

export interface BenchOptions {
  /** Tokens in the cache when decoding begins, and tokens of a prefill. Default 128. */
  readonly context?: number;
  /** Decode steps of one round. Default 16. */
  readonly steps?: number;
  /** Numbers of texts decoded together, each measured for itself. Default: one. */
  readonly batch?: readonly number[];
  /** What decode steps of several texts compute in full. Default `measured`. */
  readonly breakEven?: BreakEvenRule;
  /** Rounds; every method runs once in each. Default 7. */
  readonly rounds?: number;
  /** Another engine to measure in the same rounds. Default: none. */
  readonly peer?: string;
  readonly onRound?: (round: number, rounds: number) => void;
  readonly signal?: AbortSignal;
}

export interface BenchRun {
  readonly method: string;
  readonly weights: string;
  readonly phase: 'decode' | 'prefill';
  /** Texts decoded together. */
  readonly batch: number;
  readonly context: number;
  /** Of all texts together. */
  readonly tokensPerSecond: Spread;
  /** Speed beside dense's in the same round. */
  readonly speedup: Spread;
  /** Bytes read for each token; of a prefill, for the whole of it divided by its tokens. */
  readonly bytesPerToken: BytesPerToken;
  /** Bytes read per second, as a share of the measured bandwidth. */
  readonly bandwidthShare: number;
  /** Neurons: those that all texts of a step computed together. */
  readonly density: Density;
  /** Share of the time that predictors and making selections take, of all threads together. */
  readonly predictorShare: number;
  /** Where the time of decode steps goes, in medians; null where the backend cannot tell. */
  readonly times: StepTimes | null;
  /** Expected shares above which a layer is computed in full; null where the method always chooses. */
  readonly breakEven: Limits | null;
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
  /** Where a peer ran: its first decode run, that is, of the first weights and number of texts … */
  readonly peer?: PeerRun;
  /** … and all its runs. */
  readonly peers?: readonly PeerRun[];
}

/** What was measured of one subject. */
export interface Measured {
  readonly runs: readonly BenchRun[];
  readonly peers: readonly PeerRun[];
}

export interface PeerEntrant extends Pick<OpenedPeer, 'name' | 'version'> {
  readonly session: PeerSession;
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

/** How much is measured, unless something else is asked for. Throws `BAD_REQUEST`. */
export function measures({ context = 128, steps = 16, batch = [1] }: BenchOptions) {
  if (batch.length === 0 || !batch.every((size) => Number.isInteger(size) && size >= 1))
    throw new EngineError(
      'BAD_REQUEST',
      `bench: batch is ${batch.join(', ') || 'empty'}, expected numbers of texts, each at least 1`,
    );
  return { context, steps, sizes: batch };
}

/** One method at one number of texts. */
interface Entrant {
  readonly method: Sparsity;
  readonly texts: Int32Array;
  readonly usage: Usage;
  readonly decode: number[];
}

/**
 * Measure every method of a subject: decode through the method, at each number of texts, and prefill,
 * dense whatever the method.
 *
 * Methods take turns within each round, so that a machine that slows down slows them all; figures are
 * medians over rounds, ratios are formed within a round. All share one cache: what decoding writes lies
 * beyond the prompts, which are prefilled once, and the first again in every round.
 */
export async function benchSubject(
  subject: Subject,
  bandwidthGBs: number,
  options: BenchOptions = {},
  peer?: PeerEntrant,
): Promise<Measured> {
  const { rounds = 7, signal } = options;
  const { context, steps, sizes } = measures(options);
  const { backend, model, weights, methods } = subject;
  const { layers, vocabulary } = model.description;
  const breakEven = new BreakEven(backend, model, options.breakEven);
  using batch = new Batch(backend, model, {
    method: methods[0],
    policy: full,
    capacity: context + steps,
    sequences: Math.max(...sizes),
    breakEven,
  });
  const prompts = Array.from({ length: batch.sequences }, (_, text) =>
    Int32Array.from({ length: context }, (_, i) => ((i + text * 31) * 7919 + 13) % vocabulary),
  );
  for (const prompt of prompts) await batch.prefill(batch.admit(), prompt, signal);
  const entrants: Entrant[] = sizes.flatMap((size) =>
    methods.map((method) => ({
      method,
      texts: Int32Array.from({ length: size }, (_, text) => text),
      usage: new Usage(layers, batch.denseBytes(size)),
      decode: [],
    })),
  );
  const prefill: number[] = [];
  const turns = peer && new PeerTurns(peer.session, { prompts, steps, sizes });
  // The first round records programs and warms caches.
  for (let round = -1; round < rounds; round++) {
    batch.truncate(0, 0);
    const seconds = await timed(() => batch.prefill(0, prompts[0], signal));
    if (round >= 0) prefill.push(context / seconds);
    for (const { method, texts, usage, decode } of entrants) {
      signal?.throwIfAborted();
      for (const text of texts) batch.truncate(text, context);
      const seconds = await timed(async () => {
        for (let i = 0; i < steps; i++)
          await batch.decode(
            texts,
            texts.map((text) => prompts[text][i % context]),
            method,
          );
      });
      if (round < 0) continue;
      decode.push((steps * texts.length) / seconds);
      usage.add(await batch.usage());
    }
    signal?.throwIfAborted();
    await turns?.take(round >= 0);
    options.onRound?.(round + 1, rounds);
  }
  const runs: BenchRun[] = [];
  for (const { method, texts, usage, decode } of entrants) {
    const beside = entrants.find((other) => other.texts.length === texts.length)!;
    const bytesPerToken = usage.bytesPerToken();
    const read = bytesPerToken.weights + bytesPerToken.predictor + bytesPerToken.kv;
    const tokensPerSecond = spread(decode);
    const limits = await breakEven.at(method, texts.length);
    const times = await stepTimes(batch, method, texts, prompts, context);
    runs.push({
      method: method.name,
      weights,
      phase: 'decode',
      batch: texts.length,
      context,
      tokensPerSecond,
      speedup: ratio(decode, beside.decode),
      bytesPerToken,
      bandwidthShare: (read * tokensPerSecond.median) / (bandwidthGBs * 1e9),
      density: usage.density(),
      predictorShare: times?.choosing ?? 0,
      times,
      breakEven: limits ?? null,
    });
  }
  const bytes = batch.denseBytes(1) / context;
  const tokensPerSecond = spread(prefill);
  runs.push({
    method: methods[0].name,
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
    times: null,
    breakEven: null,
  });
  if (!peer || !turns) return { runs, peers: [] };
  const ours: OurRates[] = [
    ...entrants.map(({ method, texts, decode }) => ({
      method: method.name,
      phase: 'decode' as const,
      batch: texts.length,
      rates: decode,
    })),
    { method: methods[0].name, phase: 'prefill', batch: 1, rates: prefill },
  ];
  const { name, version } = peer;
  return { runs, peers: turns.results({ name, version, weights }, ours, bandwidthGBs) };
}

/** Steps whose times are taken, after the rounds: taking them costs a little. */
const timedSteps = 9;

/** Where the time of steps of one method goes, as medians over some steps. */
async function stepTimes(
  batch: Batch,
  method: Sparsity,
  texts: Int32Array,
  prompts: readonly Int32Array[],
  context: number,
): Promise<StepTimes | null> {
  const all: StepTimes[] = [];
  for (let i = 0; i < timedSteps; i++) {
    for (const text of texts) batch.truncate(text, context);
    const ids = texts.map((text) => prompts[text][i % context]);
    const times = await batch.timeDecode(texts, ids, method);
    if (!times) return null;
    all.push(times);
  }
  const median = (kind: keyof StepTimes): number => spread(all.map((times) => times[kind])).median;
  return {
    whole: median('whole'),
    selected: median('selected'),
    attention: median('attention'),
    choosing: median('choosing'),
    rest: median('rest'),
    waiting: median('waiting'),
  };
}

import os from 'node:os';
import type { BackendInfo } from '../backend.ts';
import { Batch } from '../engine/batch.ts';
import { BreakEven, type BreakEvenRule } from '../engine/break-even.ts';
import { keptOf } from '../kv/parts/layout.ts';
import { EngineError, expectWhole } from '../errors.ts';
import type { Description } from '../model.ts';
import type { Limits } from '../sparsity.ts';
import type { StepTimes } from '../engine/step-times.ts';
import { type BytesPerToken, type Density, Usage } from '../engine/usage.ts';
import {
  askedCaches,
  type CacheOptions,
  type CachePlan,
  expectCachesFit,
  type Filling,
  planCaches,
} from './caches.ts';
import type { OpenedPeer, PeerSession } from './peer.ts';
import { type OurRates, type PeerRun, PeerTurns } from './peer-turns.ts';
import { ratio, type Spread, spread } from './spread.ts';
import {
  type BenchKV,
  decodeSome,
  describeCache,
  type Entrant,
  isFullBeside,
  openStage,
  prefillAgain,
  type Stage,
  stepTimes,
  timedSteps,
} from './stage.ts';
import type { NeuronPredictors, Subject } from './subject.ts';

/** How much is measured, and in which caches. */
export interface BenchOptions extends CacheOptions {
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
  /** Refuse what needs more bytes. Default: no limit. */
  readonly memoryLimit?: number;
  /** Called after each round; both count from 1. */
  readonly onRound?: (round: number, rounds: number) => void;
  /** Ends the bench between steps. */
  readonly signal?: AbortSignal;
}

/** One method in one phase: medians over rounds, of all its texts together. */
export interface BenchRun {
  /** A sparsity method, by name. */
  readonly method: string;
  /** Type of weights in memory. */
  readonly weights: string;
  /** Decode steps, or the prefill of a whole text. */
  readonly phase: 'decode' | 'prefill';
  /** Texts decoded together. */
  readonly batch: number;
  /** Tokens of a text when decoding begins; of a prefill, those it adds. */
  readonly context: number;
  /** How those tokens came to be in the cache. */
  readonly filled: Filling;
  /** What the cache keeps, and what it takes. */
  readonly kv: BenchKV;
  /** Of all texts together. */
  readonly tokensPerSecond: Spread;
  /** How long a text waits for its next token: the time of a step; of a prefill, its time by its tokens. */
  readonly msPerToken: Spread;
  /** Speed beside the first method's in the same round. */
  readonly speedup: Spread;
  /** Speed beside that of the full cache in the same round, all else being equal; null where it did not run. */
  readonly besideFull: Spread | null;
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

/** The processor that was measured. */
export interface Machine {
  /** As the system calls it. */
  readonly cpu: string;
  /** That run kernels. */
  readonly threads: number;
  /** Instruction set of the kernels. */
  readonly isa: string;
  /** What all threads together read from memory, in 10⁹ bytes a second. */
  readonly bandwidthGBs: number;
}

/** What `bench` measured, of every type of weights, method, phase and number of texts. */
export interface BenchResult {
  /** Where it was measured. */
  readonly machine: Machine;
  /** The model, or the shape. */
  readonly model: string;
  /** Weights are random: speeds and bytes mean something, texts do not. */
  readonly synthetic: boolean;
  /** Where only the first layers of a shape ran: how many, of how many, and the ids embedding and head know. */
  readonly stack?: { readonly layers: number; readonly of: number; readonly vocabulary: number };
  /** Of neurons, where there are any: a model's own, or those of a shape. */
  readonly predictors?: NeuronPredictors;
  /** In the order they were asked for. */
  readonly runs: readonly BenchRun[];
  /** Where a peer ran: its first decode run, that is, of the first weights and number of texts. */
  readonly peer?: PeerRun;
  /** All runs of the peer. */
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
export function measures(options: BenchOptions) {
  const { steps = 16, batch = [1], rounds = 7 } = options;
  if (batch.length === 0)
    throw new EngineError('BAD_REQUEST', 'bench: `batch` is empty, expected numbers of texts');
  for (const size of batch) expectWhole('batch', size, 1);
  return { steps, rounds, sizes: batch, caches: askedCaches(options) };
}

/** The caches that so many methods are measured with. Throws `BAD_REQUEST`, `OUT_OF_MEMORY`. */
export function planBench(
  options: BenchOptions,
  methods: number,
  description: Description,
  weightBytes: number,
): CachePlan[] {
  const { steps, rounds, sizes, caches } = measures(options);
  const all = sizes.length * methods * (steps * (rounds + 1) + timedSteps);
  const plans = planCaches(caches, description, { steps, all });
  const sequences = Math.max(...sizes);
  expectCachesFit(plans, description, sequences, weightBytes, options.memoryLimit);
  return plans;
}

/**
 * Measure every method of a subject: decode through the method, at each number of texts, and prefill,
 * dense whatever the method; in each cache.
 *
 * All take turns within each round, so that a machine that slows down slows them all; figures are
 * medians over rounds, ratios are formed within a round. Methods share a cache: what decoding writes lies
 * beyond the prompts, which are prefilled once, and the first again in every round. A policy that evicts
 * lets its texts grow instead: at its budget a step takes as long however far the text went.
 */
export async function benchSubject(
  subject: Subject,
  bandwidthGBs: number,
  options: BenchOptions = {},
  peer?: PeerEntrant,
): Promise<Measured> {
  const { signal } = options;
  const { steps, rounds, sizes } = measures(options);
  const { backend, model, weights, methods } = subject;
  const { layers, vocabulary } = model.description;
  const plans = planBench(options, methods.length, model.description, subject.weightBytes);
  const breakEven = new BreakEven(backend, model, options.breakEven);
  const batches: Batch[] = [];
  const stages: Stage[] = [];
  try {
    for (const plan of plans) {
      const batch = new Batch(backend, model, {
        method: methods[0],
        policy: plan.policy,
        capacity: plan.capacity,
        sequences: Math.max(...sizes),
        breakEven,
        cacheType: plan.type,
      });
      batches.push(batch);
      stages.push(await openStage(batch, plan, vocabulary, signal));
    }
    const entrants: Entrant[] = stages.flatMap((stage) =>
      sizes.flatMap((size) =>
        methods.map((method) => ({
          stage,
          method,
          texts: Int32Array.from({ length: size }, (_, text) => text),
          usage: new Usage(layers, stage.batch.denseBytes(size)),
          decode: [],
          kept: 0,
        })),
      ),
    );
    const turns = peer && new PeerTurns(peer.session, { prompts: stages[0].prompts, steps, sizes });
    // The first round records programs and warms caches.
    for (let round = -1; round < rounds; round++) {
      for (const stage of stages) await prefillAgain(stage, round >= 0, signal);
      for (const entrant of entrants) {
        signal?.throwIfAborted();
        await decodeSome(entrant, steps, round >= 0);
      }
      signal?.throwIfAborted();
      await turns?.take(round >= 0);
      options.onRound?.(round + 1, rounds);
    }
    const report: Report = { subject, bandwidthGBs, breakEven, stages, entrants };
    const runs = [
      ...(await decodeRuns(report)),
      ...stages
        .filter(({ plan }) => plan.filled === 'prefill')
        .map((stage) => prefillRun(report, stage)),
    ];
    if (!peer || !turns) return { runs, peers: [] };
    const ours = ratesOf(report);
    const { name, version } = peer;
    return { runs, peers: turns.results({ name, version, weights }, ours, bandwidthGBs) };
  } finally {
    for (const batch of batches) batch[Symbol.dispose]();
  }
}

/** What was measured, and of what. */
interface Report {
  readonly subject: Subject;
  readonly bandwidthGBs: number;
  readonly breakEven: BreakEven;
  readonly stages: readonly Stage[];
  readonly entrants: readonly Entrant[];
}

/** What each method did in each cache, at each number of texts. */
async function decodeRuns({
  subject: { weights },
  bandwidthGBs,
  breakEven,
  entrants,
}: Report): Promise<BenchRun[]> {
  const runs: BenchRun[] = [];
  for (const entrant of entrants) {
    const { stage, method, texts, usage } = entrant;
    const alike = entrants.filter((other) => other.texts.length === texts.length);
    const beside = alike.find((other) => other.stage === stage)!;
    const full = alike.find((other) => other.method === method && isFullBeside(other.stage, stage));
    const bytesPerToken = usage.bytesPerToken();
    const read = bytesPerToken.weights + bytesPerToken.predictor + bytesPerToken.kv;
    const tokensPerSecond = spread(entrant.decode);
    const limits = await breakEven.at(method, texts.length);
    const times = await stepTimes(entrant);
    runs.push({
      method: method.name,
      weights,
      phase: 'decode',
      batch: texts.length,
      context: stage.plan.context,
      filled: stage.plan.filled,
      kv: describeCache(stage, texts.length, entrant.kept),
      tokensPerSecond,
      msPerToken: spread(entrant.decode.map((rate) => (1000 * texts.length) / rate)),
      speedup: ratio(entrant.decode, beside.decode),
      besideFull: full ? ratio(entrant.decode, full.decode) : null,
      bytesPerToken,
      bandwidthShare: (read * tokensPerSecond.median) / (bandwidthGBs * 1e9),
      density: usage.density(),
      predictorShare: times?.choosing ?? 0,
      times,
      breakEven: limits ?? null,
    });
  }
  return runs;
}

/** Prefill of one text in a cache, dense whatever the method. */
function prefillRun({ subject, bandwidthGBs, stages }: Report, stage: Stage): BenchRun {
  const { methods, weights, model } = subject;
  const { layers } = model.description;
  const { plan, batch, prefill } = stage;
  const full = stages.find((other) => isFullBeside(other, stage));
  const bytes = batch.denseBytes(1) / plan.context;
  const tokensPerSecond = spread(prefill);
  return {
    method: methods[0].name,
    weights,
    phase: 'prefill',
    batch: 1,
    context: plan.context,
    filled: plan.filled,
    kv: describeCache(stage, 1, keptOf(batch.cache.layout, plan.context)),
    tokensPerSecond,
    msPerToken: spread(prefill.map((rate) => 1000 / rate)),
    speedup: { median: 1, min: 1, max: 1 },
    besideFull: full ? ratio(prefill, full.prefill) : null,
    bytesPerToken: { weights: bytes, predictor: 0, kv: 0, dense: bytes },
    bandwidthShare: (bytes * tokensPerSecond.median) / (bandwidthGBs * 1e9),
    density: new Usage(layers, 0).density(),
    predictorShare: 0,
    times: null,
    breakEven: null,
  };
}

/** The same, for ratios with a peer within each round. */
const ratesOf = ({ subject: { methods }, stages, entrants }: Report): OurRates[] => [
  ...entrants.map(({ method, texts, decode }) => ({
    method: method.name,
    phase: 'decode' as const,
    batch: texts.length,
    rates: decode,
  })),
  { method: methods[0].name, phase: 'prefill', batch: 1, rates: stages[0].prefill },
];

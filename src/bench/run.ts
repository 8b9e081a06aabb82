import { openBackend } from '../backends/index.ts';
import { Engine, type OpenOptions } from '../engine/local.ts';
import { findMethod } from '../engine/method.ts';
import { EngineError } from '../errors.ts';
import type { WeightType } from '../loaders/convert.ts';
import type { PredictorType } from '../predictor.ts';
import type { Matrix } from '../selector.ts';
import { methods } from '../sparsity/index.ts';
import type { Method } from '../sparsity.ts';
import { measureBandwidth } from './bandwidth.ts';
import {
  type BenchOptions,
  type BenchResult,
  type BenchRun,
  benchSubject,
  describeMachine,
  type Machine,
  measures,
  planBench,
} from './bench.ts';
import type { AskedCaches, CacheOptions } from './caches.ts';
import type { PeerRun } from './peer-turns.ts';
import { findPeer } from './peers/index.ts';
import { findShape, type Shape, stackOf } from './shapes.ts';
import { engineSubject, type NeuronPredictors, type Subject, syntheticSubject } from './subject.ts';

/** `auto`: what the file has; shapes are those of f16 files. */
export type BenchWeights = 'auto' | WeightType;

/** What is measured: a model or a shape, in which types of weights, by which methods. */
export interface BenchTarget {
  /** A model by name or folder; or give a `shape`. */
  readonly model?: string;
  /** A shape, with synthetic weights; or give a `model`. */
  readonly shape?: string;
  /** Only so many first layers of the shape, without the weight of embeddings and head. Default: all of it. */
  readonly layers?: number;
  /** Rank of a shape's predictors of neurons. Default 128. */
  readonly rank?: number;
  /** Type of a shape's predictors of neurons. Default int2g128. */
  readonly predictorType?: PredictorType;
  /** Weight types to measure in turn. Default: of a model `auto`, as `Engine.open` has it; of a shape f32 and int8. */
  readonly weights?: readonly BenchWeights[];
  /** Methods to compare; the first is what others are compared with. */
  readonly methods?: readonly string[];
}

/** Methods that run on matrices as they usually lie: what is compared unless others are named. */
const usual = methods.filter(({ inputs = [] }) => inputs.length === 0);

/** Those of them that a model without a predictor file, or a shape with random predictors, has enough for. */
const without = (...needs: readonly Method['needs'][]): string[] =>
  usual.filter((method) => !needs.includes(method.needs)).map(({ name }) => name);

/** How to measure, and how to open what is measured. */
export type BenchRunOptions = BenchOptions & Omit<OpenOptions, keyof CacheOptions>;

/**
 * Measure a model or a shape: this machine's bandwidth first, then every weight type in turn. Throws
 * `BAD_REQUEST`, `OUT_OF_MEMORY`, and for a model what `Engine.open` throws.
 *
 *     const { runs } = await bench({ shape: 'opt-1.3b', weights: ['int8'] }, { rounds: 3 });
 *     runs[0].tokensPerSecond.median;
 */
export async function bench(
  target: BenchTarget,
  options: BenchRunOptions = {},
): Promise<BenchResult> {
  const { model, shape, layers, rank, predictorType } = target;
  const types = target.weights ?? (shape === undefined ? ['auto'] : ['f32', 'int8']);
  if ((model === undefined) === (shape === undefined))
    throw new EngineError('BAD_REQUEST', 'bench: expected either a model or `shape`, and not both');
  const ofShapes = [
    ['layers', layers, 'a model is measured whole'],
    ['rank', rank, 'predictors of a model have the ranks they were trained for'],
    ['predictorType', predictorType, 'predictors of a model have the type they were trained in'],
  ] as const;
  for (const [option, value, why] of ofShapes)
    if (value !== undefined && shape === undefined)
      throw new EngineError(
        'BAD_REQUEST',
        `bench: \`${option}\` is ${value}, but ${why}; it goes with \`shape\``,
      );
  const { steps, sizes, caches } = measures(options);
  const { contexts } = caches;
  if (options.peer !== undefined) expectComparable(caches);
  const runs: BenchRun[] = [];
  const peers: PeerRun[] = [];
  let predictors: NeuronPredictors | undefined;
  const { memoryLimit, signal } = options;
  const peer = options.peer === undefined ? undefined : await findPeer(options.peer).open();
  const measure = async (subject: Subject, bandwidthGBs: number): Promise<void> => {
    predictors ??= subject.predictors;
    await using session = await peer?.prepare(subject.model, {
      threads: subject.backend.info.threads,
      capacity: contexts[0] + steps,
      sequences: Math.max(...sizes),
      longest: contexts[0],
      memoryLimit,
      signal,
    });
    const entrant = peer && session && { name: peer.name, version: peer.version, session };
    const measured = await benchSubject(subject, bandwidthGBs, options, entrant);
    runs.push(...measured.runs);
    peers.push(...measured.peers);
    for (const run of measured.peers) warnOfCompany(run, options.onNote);
  };
  const result = (machine: Machine, model: string, synthetic: Shape | undefined): BenchResult => {
    const first = peers.find(({ phase }) => phase === 'decode');
    return {
      ...{ machine, model, synthetic: synthetic !== undefined },
      ...(synthetic?.stack && { stack: synthetic.stack }),
      ...(predictors && { predictors }),
      runs,
      ...(first && { peer: first, peers }),
    };
  };
  let machine: Machine | undefined;
  if (shape !== undefined) {
    const whole = findShape(shape);
    const found = layers === undefined ? whole : stackOf(whole, layers);
    const opened = await openBackend(options.backend ?? 'auto', options);
    await using backend = opened.backend;
    for (const note of opened.notes) options.onNote?.(note);
    machine = describeMachine(backend.info, await measureBandwidth(backend));
    for (const weights of types) {
      const names = target.methods ?? without('usage');
      const subject = syntheticSubject(found, backend, {
        weights: weights === 'auto' ? 'f16' : weights,
        names,
        rank,
        predictorType,
        memoryLimit,
        expect: (description, weightBytes) =>
          void planBench(options, names.length, description, weightBytes),
      });
      try {
        await measure(subject, machine.bandwidthGBs);
      } finally {
        subject.release();
      }
    }
    return result(machine, found.name, found);
  }
  // Whatever caches it would open, the bench makes its own.
  const { context, kv, sinks, heavy, recent, kvBudget, kvType, fill, ...opening } = options;
  const byInputs = inputsOf(target.methods ?? [], options.onNote);
  for (const weights of types) {
    await using engine = await Engine.open(model!, {
      ...opening,
      weights,
      byInputs,
      context: Math.min(...contexts),
    });
    const names =
      target.methods ?? (engine.predictor ? without() : without('counts', 'predictor', 'usage'));
    machine ??= describeMachine(engine.backend.info, await measureBandwidth(engine.backend));
    await measure(engineSubject(engine, names), machine.bandwidthGBs);
  }
  return result(machine!, model!, undefined);
}

/** Matrices that some of the methods need by inputs: all of them run on these then. */
function inputsOf(names: readonly string[], onNote: OpenOptions['onNote']): Matrix[] {
  const byInputs = [...new Set(names.flatMap((name) => findMethod(name).inputs ?? []))];
  if (byInputs.length)
    onNote?.(`${byInputs.join(', ')} lie one row an input, for every method of this bench`);
  return byInputs;
}

/** Throws `BAD_REQUEST` where a peer cannot do the same: it keeps all of a text that was computed. */
function expectComparable({ contexts, policies, fill }: AskedCaches): void {
  const single = contexts.length === 1 && policies.length === 1;
  if (single && policies[0].kv === 'full' && fill(contexts[0]) === 'prefill') return;
  throw new EngineError(
    'BAD_REQUEST',
    `bench: \`peer\` is given with contexts of ${contexts.join(', ')} tokens and \`kv\` ${policies.map(({ kv }) => kv).join(', ')}, expected one context in a full cache that is computed (\`fill\` prefill)`,
  );
}

/** Rounds that differ by more say that other work took the processor. */
const calm = 1.5;

function warnOfCompany(
  { name, weights, phase, batch, tokensPerSecond: { min, max } }: PeerRun,
  onNote: OpenOptions['onNote'],
): void {
  if (max > calm * min)
    onNote?.(
      `${name}, ${weights}, ${phase}, batch ${batch}: its fastest round is ${(max / min).toFixed(1)} times its slowest; its threads wait for one another in loops, so other work on this machine costs it more than it costs us; measure again on an idle machine`,
    );
}

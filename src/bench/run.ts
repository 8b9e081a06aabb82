import { openBackend } from '../backends/index.ts';
import { Engine, type OpenOptions } from '../engine/engine.ts';
import { EngineError } from '../errors.ts';
import { measureBandwidth } from './bandwidth.ts';
import {
  type BenchOptions,
  type BenchResult,
  type BenchRun,
  benchSubject,
  describeMachine,
} from './bench.ts';
import { findShape } from './shapes.ts';
import { engineSubject, syntheticSubject } from './subject.ts';

/** `auto`: what the file has; shapes are those of f16 files. */
export type BenchWeights = 'auto' | 'f32' | 'f16' | 'int8' | 'int4';

export interface BenchTarget {
  /** A model by name or folder … */
  readonly model?: string;
  /** … or a shape, with synthetic weights. */
  readonly shape?: string;
  /** Weight types to measure in turn. Default: f32 and int8. */
  readonly weights?: readonly BenchWeights[];
  /** Methods to compare; the first is what others are compared with. */
  readonly methods?: readonly string[];
}

const shapeMethods = ['dense', 'exact', 'predictor', 'oracle', 'random'];

/** Measure a model or a shape: this machine's bandwidth first, then every weight type in turn. */
export async function bench(
  target: BenchTarget,
  options: BenchOptions & OpenOptions = {},
): Promise<BenchResult> {
  const { model, shape, weights: types = ['f32', 'int8'] } = target;
  if ((model === undefined) === (shape === undefined))
    throw new EngineError(
      'BAD_REQUEST',
      'bench: expected either a model or --shape NAME, and not both',
    );
  const runs: BenchRun[] = [];
  let machine: BenchResult['machine'] | undefined;
  if (shape !== undefined) {
    const found = findShape(shape);
    const opened = await openBackend(options.backend ?? 'auto', options);
    await using backend = opened.backend;
    for (const note of opened.notes) options.onNote?.(note);
    machine = describeMachine(backend.info, await measureBandwidth(backend));
    for (const weights of types) {
      const names = target.methods ?? shapeMethods;
      const { memoryLimit } = options;
      const subject = syntheticSubject(found, backend, {
        weights: weights === 'auto' ? 'f16' : weights,
        names,
        ...(memoryLimit === undefined ? {} : { memoryLimit }),
      });
      try {
        runs.push(...(await benchSubject(subject, machine.bandwidthGBs, options)));
      } finally {
        subject.release();
      }
    }
    return { machine, model: found.name, synthetic: true, runs };
  }
  for (const weights of types) {
    await using engine = await Engine.open(model!, { ...options, weights });
    const names =
      target.methods ?? (engine.predictor ? [...shapeMethods, 'static'] : shapeMethods.slice(0, 2));
    machine ??= describeMachine(engine.backend.info, await measureBandwidth(engine.backend));
    const subject = engineSubject(engine, names);
    runs.push(...(await benchSubject(subject, machine.bandwidthGBs, options)));
  }
  return { machine: machine!, model: model!, synthetic: false, runs };
}

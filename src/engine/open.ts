import type { Backend, BackendFactory } from '../backend.ts';
import { openOneOf } from '../backends/open.ts';
import { EngineError } from '../errors.ts';
import type { KVPolicy } from '../kv.ts';
import { cacheBytes, cacheShape } from '../kv/cache.ts';
import { budgetOf } from '../kv/parts/budget.ts';
import { type Checkpoint, loadCheckpoint } from '../loaders/checkpoint.ts';
import type { WeightType } from '../loaders/convert.ts';
import { filesOf } from '../loaders/names.ts';
import type { Description } from '../model.ts';
import type { Predictor, PredictorFile } from '../predictor.ts';
import type { Folder, ModelFiles, Source } from '../source.ts';
import type { Matrix } from '../selector.ts';
import type { Method, Sparsity } from '../sparsity.ts';
import type { MethodName } from '../sparsity/index.ts';
import type { Tokenizer } from '../tokenizer/index.ts';
import type { BreakEvenRule } from './break-even.ts';
import { describeFields } from './defaults.ts';
import { chooseKeeping, findPolicy, type Keeping, type KeepingOptions } from './keeping.ts';
import {
  choosePoint,
  createMethod,
  expectUsed,
  findMethod,
  type MethodOptions,
  placePredictor,
} from './method.ts';
import { noPoints, predictorOf } from './predictor-file.ts';
import { expectRunnable } from './runnable.ts';
import type { Model } from './step.ts';

/** How to open a model. */
export interface OpenOptions extends MethodOptions, KeepingOptions {
  /** What may run it, fastest first. */
  readonly backends: readonly BackendFactory[];
  /** One of `backends` by name. Default `auto`: the first that works here. */
  readonly backend?: 'auto' | (string & {});
  /** CPU threads. Default: the physical cores this process may use. */
  readonly threads?: number;
  /** Force an instruction set of the native backend. */
  readonly isa?: string;
  /** Type of weights in memory. Default `auto`: what the file has. */
  readonly weights?: 'auto' | WeightType;
  /**
   * What activations are rounded to before products with int8 and int4 weights. Default int8: faster, and
   * as good within 0.1 % of perplexity. Weights of 16 and 32 bits always take f32.
   */
  readonly activations?: 'f32' | 'int8';
  /**
   * Sparsity method, by its name or itself. Default: `predictor` where a predictor file lies beside the
   * model, else `dense`.
   */
  readonly sparsity?: MethodName | (string & {}) | Method;
  /**
   * Matrices to lay out one row an input beside those that `sparsity` asks for, so that `method` can make
   * others that select inputs. Their quantized rows are rounded anew. Default: none.
   */
  readonly byInputs?: readonly Matrix[];
  /**
   * Predictor file; it stays the caller's. Default: `predictor.safetensors` in the model's folder; of
   * NAME.gguf, `NAME.predictor.safetensors` beside it.
   */
  readonly predictor?: Source;
  /**
   * How a model's tokenizer is read: `loadTokenizer` of `dejavu-llm/tokenizer`. Default: none is, and the
   * engine takes token ids alone.
   */
  readonly tokenizer?: (model: ModelFiles) => Promise<Tokenizer | undefined>;
  /** Refuse what needs more bytes. Default: no limit. */
  readonly memoryLimit?: number;
  /** Called with what the engine chose by itself, e.g. a backend. */
  readonly onNote?: (note: string) => void;
}

/** How much room a batch has, and what its steps compute. */
export interface BatchOptions {
  /** Texts there is room for. Default 8. */
  readonly sequences?: number;
  /** Tokens one text may have. Default: the engine's context. */
  readonly context?: number;
  /** What decode steps ask. Default: the engine's method. */
  readonly method?: Sparsity;
  /** What the cache keeps. Default: the engine's policy. */
  readonly policy?: KVPolicy;
  /**
   * Where several texts together would choose so much that computing all is faster, decode steps do that.
   * Default `measured`, on this machine when a step of so many texts is first needed.
   */
  readonly breakEven?: BreakEvenRule;
}

/** What an engine is made of. */
export interface EngineParts {
  readonly files: ModelFiles;
  readonly backend: Backend;
  readonly checkpoint: Checkpoint & Model;
  readonly sparsity: Sparsity;
  readonly predictor: Predictor | undefined;
  readonly file: PredictorFile | undefined;
  readonly keeping: Keeping;
  readonly loadSeconds: number;
  readonly tokenizer: Tokenizer | undefined;
  readonly readsText: boolean;
}

/**
 * Open a model's files with the first backend that opens and can run it: options, files and memory are checked here. Throws what
 * `Engine.open` throws.
 */
export async function openParts(
  model: Folder | ModelFiles,
  options: OpenOptions,
): Promise<EngineParts> {
  const start = performance.now();
  const files = filesOf(model);
  const kind = findPolicy(options);
  const asked = options.sparsity === undefined ? undefined : findMethod(options.sparsity);

  if (asked) expectUsed(asked, options);

  const { backend, notes } = await openOneOf(options.backends, options.backend ?? 'auto', options);
  for (const note of notes) options.onNote?.(note);
  try {
    const checkpoint = await loadCheckpoint(files, backend, {
      ...options,
      byInputs: [...(options.byInputs ?? []), ...(asked?.inputs ?? [])],
      expect: (description, weightBytes) =>
        expectCacheFits(
          chooseKeeping(kind, options, description),
          description,
          weightBytes,
          options.memoryLimit,
        ),
    });
    const { description, defaults } = checkpoint;
    const missing = describeFields(defaults.notApplied);
    if (missing)
      options.onNote?.(
        `${defaults.source} asks for what is not computed here: ${missing}; texts are generated without`,
      );
    const keeping = chooseKeeping(kind, options, description);
    if ((options.context ?? 0) > description.context)
      options.onNote?.(
        `a context of ${options.context} tokens, where the model was trained for ${description.context}: what it makes of more is uncertain`,
      );

    const file =
      asked?.needs === 'nothing'
        ? undefined
        : await predictorOf(files, options.predictor, description);
    if (!file && (options.recall ?? options.maxLoss) !== undefined) throw noPoints(files);
    const predictor = file && placePredictor(backend, file, choosePoint(file, options));
    const method = asked ?? findMethod(predictor ? 'predictor' : 'dense');
    expectUsed(method, options);
    const rounding = { ...checkpoint, roundsActivations: options.activations !== 'f32' };
    const sparsity = createMethod(method, backend, checkpoint, predictor, options);
    expectRunnable(backend, rounding, {
      ...{ method: sparsity, policy: keeping.policy },
      ...{ capacity: keeping.context, cacheType: keeping.type },
    });
    // Where memory turns out to be missing only afterwards, it is known now.
    await backend.read([]);
    return {
      files,
      backend,
      checkpoint: rounding,
      sparsity,
      predictor,
      file,
      keeping,
      loadSeconds: (performance.now() - start) / 1000,
      tokenizer: await options.tokenizer?.(files),
      readsText: options.tokenizer !== undefined,
    };
  } catch (error) {
    await backend[Symbol.asyncDispose]();
    const at = options.backends.findIndex(({ name }) => name === backend.name);
    const slower = options.backends.slice(at + 1);
    const refused = error instanceof EngineError && error.code === 'BACKEND_REFUSES';
    if (!refused || (options.backend ?? 'auto') !== 'auto' || slower.length === 0) throw error;
    options.onNote?.(error.message);
    return openParts(model, { ...options, backends: slower });
  }
}

function expectCacheFits(
  { policy, context, type }: Keeping,
  description: Description,
  weightBytes: number,
  limit = Infinity,
): void {
  const bytes = cacheBytes(policy, cacheShape(description, context, 1, type));
  if (weightBytes + bytes <= limit) return;
  const tokens = Math.min(context, budgetOf(policy));
  throw new EngineError(
    'OUT_OF_MEMORY',
    `a cache of ${tokens} tokens takes ${bytes} bytes beside ${weightBytes} of weights, expected at most ${limit} together; lower \`context\` or \`kvBudget\`, or use smaller \`weights\` or \`kvType\``,
  );
}

import type { Backend, Program } from '../backend.ts';
import type { Cache, CacheStep } from '../cache.ts';
import type { Description, Family, Forward, Weights } from '../model.ts';
import { crossEntropy } from '../ops/cross-entropy.ts';
import { divergence } from '../ops/divergence.ts';
import { Recorder } from '../program.ts';
import type { Limits, Sparsity } from '../sparsity.ts';
import type { Tensor } from '../tensor.ts';
import { Accounts, type StepUsage } from './accounts.ts';
import { type StepTimes, stepTimes } from './step-times.ts';

/** A checkpoint in a backend's memory, ready to record steps. */
export interface Model {
  /** How it computes. */
  readonly family: Family;
  /** What `family.config` made of config.json. */
  readonly config: unknown;
  /** Round activations to int8 before products with quantized weights. Default false. */
  readonly roundsActivations?: boolean;
  /** Its sizes. */
  readonly description: Description;
  /** Its weights and constants, by the engine's names. */
  readonly weights: Weights;
}

export interface StepOptions {
  /** T: rows of one run. */
  readonly rows: number;
  /** Rows whose logits are computed. */
  readonly logits: 'all' | 'last';
  /**
   * Also compute one number a row from its logits, of all rows: its loss against a target id, or its
   * divergence from reference logits.
   */
  readonly measure?: 'loss' | 'divergence';
  /** Keep hidden states readable after a run. */
  readonly hidden?: boolean;
  /** Where choosing pays. Default: everywhere. */
  readonly limits?: Limits | undefined;
  /**
   * Heads whose keys and values a step of one row computes: those that are chosen, default, the others when
   * they are chosen again; or all at once, which gives the same results and reads more.
   */
  readonly keys?: 'chosen' | 'all';
  /** Rows are decoded, and read what a policy chooses that chooses. Default false: all that is kept. */
  readonly chooses?: boolean;
}

/** One run's tokens [T], at positions [T] of the texts `sequences` [T]. */
export interface StepRun {
  readonly tokens: Int32Array;
  readonly positions: Int32Array;
  readonly sequences: Int32Array;
  /** Where the rows go in the cache, as its layout gives it [T], for each group of layers. */
  readonly slots: readonly Int32Array[];
  readonly places: readonly Int32Array[];
  /** Of each row's text, how many of its first tokens have keys and values of all heads [T]. */
  readonly complete: Int32Array;
  /** What the measure compares with. */
  readonly expected?: Int32Array | Float32Array;
  /** Measure where the time goes. */
  readonly timed?: boolean;
}

type RowInput = 'tokens' | 'positions' | 'sequences' | 'complete';

/** A step that is recorded and not compiled: what its runs write, and what may be read after them. */
interface RecordedStep {
  readonly g: Recorder;
  readonly inputs: Readonly<Record<RowInput, Tensor>>;
  /** i32 [T], both, for each group of layers. */
  readonly slots: readonly Tensor[];
  readonly places: readonly Tensor[];
  /** Keys and values of all its texts. */
  readonly cache: CacheStep;
  readonly forward: Forward;
  /** Targets i32 [T] or reference logits f32 [T, V] of the measure. */
  readonly expected?: Tensor;
  readonly measured?: Tensor;
  readonly accounts: Accounts;
}

/** One recorded forward pass of a fixed number of rows, run as often as wanted. */
export class StepProgram implements Disposable {
  readonly #backend: Backend;
  readonly #step: RecordedStep;
  readonly #program: Program;
  readonly #settling: ReturnType<CacheStep['settling']>;
  #preparing: ReturnType<CacheStep['preparing']>;
  #slots: ReadonlyMap<Tensor, Int32Array> = new Map();
  #times: StepTimes | undefined;
  /** What the latest run counted, once anything of it was read. */
  #counts: Uint32Array | undefined;

  private constructor(backend: Backend, step: RecordedStep, program: Program) {
    this.#backend = backend;
    this.#step = step;
    this.#program = program;
    this.#settling = step.cache.settling();
    this.#preparing = step.cache.preparing();
  }

  /** Record a step of `model` over `cache`, and compile it. */
  static async record(
    backend: Backend,
    model: Model,
    cache: Cache,
    method: Sparsity,
    options: StepOptions,
  ): Promise<StepProgram> {
    const step = recordStep(backend, model, cache, method, options);
    try {
      return new StepProgram(backend, step, await backend.compile(step.g.finish()));
    } catch (error) {
      release(backend, step);
      throw error;
    }
  }

  /** Bytes of scratch it keeps for its runs. */
  get scratchBytes(): number {
    return this.#program.scratchBytes;
  }

  /** Run with T tokens at T positions of their texts. */
  async run(rows: StepRun): Promise<void> {
    const { expected, timed } = rows;
    if (this.#preparing) await this.#runOnce(this.#preparing);
    this.#preparing = undefined;
    const { inputs, slots, places, expected: compared } = this.#step;
    for (const [name, tensor] of Object.entries(inputs))
      this.#backend.write(tensor, rows[name as RowInput]);
    slots.forEach((tensor, group) => this.#backend.write(tensor, rows.slots[group]));
    places.forEach((tensor, group) => this.#backend.write(tensor, rows.places[group]));
    if (expected && compared) this.#backend.write(compared, expected);
    this.#slots = new Map(slots.map((tensor, group) => [tensor, rows.slots[group]]));
    this.#counts = undefined;
    if (timed && this.#backend.time) {
      const times = await this.#backend.time(this.#program);
      this.#times = stepTimes(this.#program.recording, times, this.#backend.info.threads);
    } else {
      await this.#backend.run(this.#program);
    }
  }

  /** It leaves out keys and values of heads that are not chosen: `settle` makes up for it. */
  get leavesOut(): boolean {
    return this.#settling !== undefined;
  }

  /**
   * Compute the keys and values that runs of this step have left out of a text of `length` tokens, the first
   * `complete` of which lack none.
   */
  async settle(sequence: number, length: number, complete: number): Promise<void> {
    const { inputs } = this.#step;
    this.#backend.write(inputs.sequences, Int32Array.of(sequence));
    this.#backend.write(inputs.positions, Int32Array.of(length - 1));
    this.#backend.write(inputs.complete, Int32Array.of(complete));
    if (this.#settling) await this.#runOnce(this.#settling);
  }

  async #runOnce(record: (g: Recorder) => void): Promise<void> {
    const g = new Recorder();
    record(g);
    const program = await this.#backend.compile(g.finish());
    try {
      await this.#backend.run(program);
    } finally {
      program.release();
    }
  }

  /** Where the time of the latest timed run went; undefined where the backend cannot tell. */
  get times(): StepTimes | undefined {
    return this.#times;
  }

  /** Logits [T, V], or [1, V] where only the last row's were wanted. */
  logits(): Promise<Float32Array> {
    return this.#one(this.#step.forward.logits);
  }

  /** What the measure gave for each row [T], in nats. */
  measured(): Promise<Float32Array> {
    return this.#one(this.#step.measured!);
  }

  /** Hidden states as `Forward.hidden` has them, where they were kept. */
  hidden(): Promise<Float32Array[]> {
    return this.#read(this.#step.forward.hidden);
  }

  /** What the latest run read and computed; nothing is read for it where something else was read before. */
  async usage(): Promise<StepUsage> {
    if (!this.#counts) await this.#read([]);
    return this.#step.accounts.usage(this.#counts!, this.#step.inputs.tokens.shape[0], this.#slots);
  }

  async #one(tensor: Tensor): Promise<Float32Array> {
    return (await this.#read([tensor]))[0];
  }

  /** Counts come along with whatever else is read: they are few, and waiting for a device twice takes long. */
  async #read(tensors: readonly Tensor[]): Promise<Float32Array[]> {
    const asked = [this.#step.accounts.counts, ...tensors];
    const [counts, ...found] = await this.#backend.read(asked, this.#program);
    this.#counts = new Uint32Array(counts.buffer);
    return found.map((bytes) => new Float32Array(bytes.buffer));
  }

  [Symbol.dispose](): void {
    this.#program.release();
    release(this.#backend, this.#step);
  }
}

/** Record a step, without compiling it. */
export function recordStep(
  backend: Backend,
  model: Model,
  cache: Cache,
  method: Sparsity,
  options: StepOptions,
): RecordedStep {
  const { rows, limits, keys = 'chosen' } = options;
  const input = (): Tensor => backend.allocate('i32', [rows], 'state');
  const inputs = {
    tokens: input(),
    positions: input(),
    sequences: input(),
    complete: input(),
  };
  const g = new Recorder({ roundsActivations: model.roundsActivations ?? false });
  const { sequences, positions, complete } = inputs;
  const slots = cache.layout.slots.map(input);
  const places = cache.layout.slots.map(input);
  const accounts = new Accounts(method.begin(g, { sequences, positions, limits }), model);
  const cacheStep = cache.begin(g, {
    ...{ sequences, positions, slots, places },
    ...(keys === 'chosen' ? { complete } : {}),
    chooses: options.chooses ?? false,
  });
  const forward = model.family.forward(g, model.config, model.weights, {
    tokens: inputs.tokens,
    positions: inputs.positions,
    cache: cacheStep,
    sparsity: accounts.selector,
    logits: options.logits,
  });
  g.keep(forward.logits);
  if (options.hidden) forward.hidden.forEach((h) => g.keep(h));
  const measure = recordMeasure(g, backend, options, forward.logits);
  accounts.record(g, backend);
  return { g, inputs, slots, places, cache: cacheStep, forward, ...measure, accounts };
}

function recordMeasure(
  g: Recorder,
  backend: Backend,
  { measure, rows }: StepOptions,
  logits: Tensor,
): Pick<RecordedStep, 'expected' | 'measured'> {
  if (!measure) return {};
  if (measure === 'loss') {
    const expected = backend.allocate('i32', [rows], 'state');
    return { expected, measured: g.keep(crossEntropy(g, logits, expected)) };
  }
  const expected = backend.allocate('f32', logits.shape, 'state');
  return { expected, measured: g.keep(divergence(g, logits, expected)) };
}

function release(backend: Backend, step: RecordedStep): void {
  const { inputs, slots, places, expected, accounts } = step;
  accounts.release(backend);
  for (const tensor of [...Object.values(inputs), ...slots, ...places]) backend.free(tensor);
  if (expected) backend.free(expected);
}

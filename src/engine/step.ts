import type { Backend, Program } from '../backend.ts';
import type { Cache, CacheStep } from '../kv.ts';
import type { CacheShape } from '../kv/cache.ts';
import { unmoved } from '../kv/parts/layout.ts';
import type { Description, Family, Forward, Weights } from '../model.ts';
import type { Read } from '../op.ts';
import type { CacheType } from '../ops/attention.ts';
import { crossEntropy } from '../ops/cross-entropy.ts';
import { divergence } from '../ops/divergence.ts';
import { tally } from '../ops/tally.ts';
import { type Command, Recorder } from '../program.ts';
import { type Selection, type Selector, type Site, wrap } from '../selector.ts';
import type { Limits, Sparsity } from '../sparsity.ts';
import { dense } from '../sparsity/dense.ts';
import { byteLength, type Tensor } from '../tensor.ts';
import { type StepTimes, stepTimes } from './step-times.ts';

/** A checkpoint in a backend's memory, ready to record steps. */
export interface Model {
  readonly family: Family;
  readonly config: unknown;
  /** Round activations to int8 before products with quantized weights. Default false. */
  readonly roundsActivations?: boolean;
  readonly description: Description;
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
}

/** One run's tokens [T], at positions [T] of the texts `sequences` [T]. */
export interface StepRun {
  readonly tokens: Int32Array;
  readonly positions: Int32Array;
  readonly sequences: Int32Array;
  /** Where the rows go in the cache, as its layout gives it [T]. */
  readonly slots: Int32Array;
  readonly places: Int32Array;
  /** Of each row's text, how many of its first tokens have keys and values of all heads [T]. */
  readonly complete: Int32Array;
  /** What the measure compares with. */
  readonly expected?: Int32Array | Float32Array;
  /** Measure where the time goes. */
  readonly timed?: boolean;
}

/** What one run of a step read and computed. */
export interface StepUsage {
  readonly rows: number;
  /** Shares of neurons that all rows together, and of heads that a row computed (their mean), by layer. */
  readonly neurons: readonly number[];
  readonly heads: readonly number[];
  /** Bytes read. */
  readonly weights: number;
  readonly predictor: number;
  readonly kv: number;
}

type RowInput = 'tokens' | 'positions' | 'sequences' | 'slots' | 'places' | 'complete';

/** One recorded forward pass of a fixed number of rows, run as often as wanted. */
export class StepProgram implements Disposable {
  readonly #backend: Backend;
  readonly #inputs: Readonly<Record<RowInput, Tensor>>;
  /** Targets i32 [T] or reference logits f32 [T, V] of the measure. */
  readonly #expected: Tensor | undefined;
  readonly #forward: Forward;
  readonly #measured: Tensor | undefined;
  readonly #counts: Tensor;
  readonly #reads: readonly (Read & { count: number | undefined })[];
  readonly #chosen: Readonly<Record<Site, readonly (Placed | undefined)[]>>;
  readonly #description: Description;
  readonly #program: Program;
  readonly #settling: ReturnType<CacheStep['settling']>;
  #preparing: ReturnType<CacheStep['preparing']>;
  #slots = new Int32Array();
  #times: StepTimes | undefined;

  constructor(
    backend: Backend,
    model: Model,
    cache: Cache,
    method: Sparsity,
    options: StepOptions,
  ) {
    const { rows, limits, keys = 'chosen' } = options;
    const input = (): Tensor => backend.allocate('i32', [rows], 'state');
    const inputs = {
      tokens: input(),
      positions: input(),
      sequences: input(),
      slots: input(),
      places: input(),
      complete: input(),
    };
    const g = new Recorder({ roundsActivations: model.roundsActivations ?? false });
    const { sequences, positions, slots, places, complete } = inputs;
    const observed = observe(
      method.begin(g, { sequences, positions, limits }),
      model.description.layers,
    );
    const cacheStep = cache.begin(g, {
      ...{ sequences, positions, slots, places },
      ...(keys === 'chosen' ? { complete } : {}),
    });
    const forward = model.family.forward(g, model.config, model.weights, {
      tokens: inputs.tokens,
      positions: inputs.positions,
      cache: cacheStep,
      sparsity: observed.selector,
      logits: options.logits,
    });
    this.#settling = cacheStep.settling();
    this.#preparing = cacheStep.preparing();
    g.keep(forward.logits);
    if (options.hidden) forward.hidden.forEach((h) => g.keep(h));
    if (options.measure === 'loss') {
      this.#expected = input();
      this.#measured = g.keep(crossEntropy(g, forward.logits, this.#expected));
    } else if (options.measure === 'divergence') {
      this.#expected = backend.allocate('f32', forward.logits.shape, 'state');
      this.#measured = g.keep(divergence(g, forward.logits, this.#expected));
    }

    const tallies = new Tallies();
    this.#reads = weightReads(g.commands).map((read) => ({
      ...read,
      count: read.select && tallies.place(read.select, read.group ?? 1),
    }));
    this.#chosen = {
      neurons: observed.chosen.neurons.map((s) => tallies.placeSelection(s)),
      heads: observed.chosen.heads.map((s) => tallies.placeSelection(s)),
    };
    this.#counts = backend.allocate('u32', [Math.max(1, tallies.length)], 'state');
    tallies.record(g, this.#counts);

    this.#backend = backend;
    this.#inputs = inputs;
    this.#forward = forward;
    this.#description = model.description;
    this.#program = backend.compile(g.finish());
  }

  /** Bytes of scratch it keeps for its runs. */
  get scratchBytes(): number {
    return this.#program.recording.scratchBytes;
  }

  /** Run with T tokens at T positions of their texts. */
  async run(rows: StepRun): Promise<void> {
    const { expected, timed } = rows;
    if (this.#preparing) await this.#runOnce(this.#preparing);
    this.#preparing = undefined;
    for (const [name, tensor] of Object.entries(this.#inputs))
      this.#backend.write(tensor, rows[name as RowInput]);
    if (expected && this.#expected) this.#backend.write(this.#expected, expected);
    this.#slots = rows.slots.slice();
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
    this.#backend.write(this.#inputs.sequences, Int32Array.of(sequence));
    this.#backend.write(this.#inputs.positions, Int32Array.of(length - 1));
    this.#backend.write(this.#inputs.complete, Int32Array.of(complete));
    if (this.#settling) await this.#runOnce(this.#settling);
  }

  async #runOnce(record: (g: Recorder) => void): Promise<void> {
    const g = new Recorder();
    record(g);
    const program = this.#backend.compile(g.finish());
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
    return this.#floats(this.#forward.logits);
  }

  /** What the measure gave for each row [T], in nats. */
  measured(): Promise<Float32Array> {
    return this.#floats(this.#measured!);
  }

  /** Hidden states as `Forward.hidden` has them, where they were kept. */
  hidden(): Promise<Float32Array[]> {
    return Promise.all(this.#forward.hidden.map((tensor) => this.#floats(tensor)));
  }

  async usage(): Promise<StepUsage> {
    const { layers, neurons, heads } = this.#description;
    const counts = new Uint32Array((await this.#backend.read(this.#counts)).buffer);
    const bytes = { weights: 0, predictor: 0, kv: 0 };
    for (const { role, bytes: each, select, count, perSlot } of this.#reads) {
      const times = count === undefined ? 1 : counts[count];
      // Of selections by row, each reads its own slots; their mean stands for all.
      const slots = perSlot ? this.#seenSlots(perSlot) / (select?.shape[0] ?? 1) : 1;
      bytes[role as keyof typeof bytes] += each * times * slots;
    }
    const shares = (site: Site, of: number): number[] =>
      Array.from({ length: layers }, (_, layer) => {
        const chosen = this.#chosen[site][layer];
        return chosen ? counts[chosen.place] / (of * chosen.rows) : 1;
      });
    return {
      rows: this.#inputs.tokens.shape[0],
      neurons: shares('neurons', neurons),
      heads: shares('heads', heads),
      ...bytes,
    };
  }

  /** Cache slots the rows of the last run saw, each at most `most` of them. */
  #seenSlots(most: number): number {
    return this.#slots.reduce((sum, slot) => sum + Math.min(slot + 1, most), 0);
  }

  async #floats(tensor: Tensor): Promise<Float32Array> {
    return new Float32Array((await this.#backend.read(tensor, this.#program)).buffer);
  }

  [Symbol.dispose](): void {
    this.#program.release();
    const owned = [...Object.values(this.#inputs), this.#counts, this.#expected];
    for (const tensor of owned) if (tensor) this.#backend.free(tensor);
  }
}

/** Weight, predictor and KV bytes that commands read in one run. */
export function weightReads(commands: readonly Command[]): Read[] {
  const roles = ['weights', 'predictor', 'kv'];
  return commands
    .flatMap(
      ({ op, operands, params }) =>
        op.reads?.(operands, params) ??
        Object.entries(operands).flatMap(([name, tensor]) =>
          tensor && !op.writes.includes(name)
            ? [
                {
                  role: tensor.role,
                  bytes: byteLength(tensor.dtype, tensor.shape),
                  select: undefined,
                },
              ]
            : [],
        ),
    )
    .filter(({ role }) => roles.includes(role));
}

/** Weight bytes a step of rows `inputs` [T] reads that selects everything. */
export function denseBytes(model: Model, cache: Cache, inputs: Tensor): number {
  const g = new Recorder();
  const rows = unmoved({ positions: inputs, sequences: inputs });
  model.family.forward(g, model.config, model.weights, {
    tokens: inputs,
    positions: inputs,
    cache: cache.begin(g, rows),
    sparsity: dense.begin(g, rows),
    logits: 'all',
  });
  return weightReads(g.commands)
    .filter(({ role }) => role === 'weights')
    .reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Remember what a method selects, as it answers. */
function observe(
  selector: Selector,
  layers: number,
): { selector: Selector; chosen: Record<Site, Selection[]> } {
  const chosen: Record<Site, Selection[]> = {
    heads: new Array<Selection>(layers).fill('all'),
    neurons: new Array<Selection>(layers).fill('all'),
  };
  return {
    chosen,
    selector: wrap(selector, {
      select: (site, layer, x, truth) =>
        (chosen[site][layer] = selector.select(site, layer, x, truth)),
    }),
  };
}

/** Where the count of a selection of so many rows lies. */
interface Placed {
  readonly place: number;
  readonly rows: number;
}

/** Places in one small tensor for the counts of selections. */
class Tallies {
  readonly #places: { select: Tensor; group: number }[] = [];

  place(select: Tensor, group: number): number {
    const found = this.#places.findIndex((p) => p.select === select && p.group === group);
    return found >= 0 ? found : this.#places.push({ select, group }) - 1;
  }

  placeSelection(selection: Selection): Placed | undefined {
    if (selection === 'all') return undefined;
    return { place: this.place(selection, 1), rows: selection.shape[0] };
  }

  get length(): number {
    return this.#places.length;
  }

  record(g: Recorder, counts: Tensor): void {
    this.#places.forEach(({ select, group }, at) => tally(g, select, counts, at, group));
  }
}

/** The cache `sequences` texts of up to `capacity` tokens need. */
export const cacheShape = (
  { layers, heads, kvHeads, headDim, hiddenSize }: Description,
  capacity: number,
  sequences = 1,
  type: CacheType = 'f32',
): CacheShape => ({
  ...{ layers, kvHeads, headDim, sequences, capacity, type },
  // Where heads share keys and values, making them later saves next to nothing.
  ...(kvHeads === heads ? { inputs: hiddenSize } : {}),
});

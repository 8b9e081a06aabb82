import type { Backend, Program } from '../backend.ts';
import type { Cache } from '../cache.ts';
import { cacheShape, createCache } from '../kv/cache.ts';
import { full } from '../kv/full.ts';
import { unmoved } from '../kv/parts/layout.ts';
import { matrixName } from '../model.ts';
import { type Command, Recorder } from '../program.ts';
import {
  type Candidates,
  type InputChoice,
  type Matrix,
  type Selection,
  type Selector,
  sites,
  wrap,
} from '../selector.ts';
import { type Limits, type Skip, skips, type Sparsity } from '../sparsity.ts';
import { carryAbove } from '../sparsity/parts/carry.ts';
import { byteLength, type Tensor } from '../tensor.ts';
import { uniform } from '../random.ts';
import { type Model } from './step.ts';

/**
 * What steps of several rows compute in full because choosing would cost more than it saves: measured on
 * this machine; `off`, nothing; or where more than the given shares are expected to be chosen, 1 where none is given.
 */
export type BreakEvenRule = 'measured' | 'off' | Partial<Limits>;

/** Shares that are tried, ascending. */
const tried = [0.4, 0.7, 1];

/** Weights of the layers that are tried, together: at least one layer's. */
const triedBytes = 2 ** 23;

/** Tokens that heads attend to when they are tried. */
const attended = 256;

/** Runs of each program, of which the fastest counts: others may be at work on this machine. */
const repeats = 4;

/**
 * Where choosing pays, by method and number of rows.
 *
 * For everything that a method may leave out, what follows a choice is timed on this model's own matrices: for all, and for a few
 * shares; the limit is the share at which it takes, with what choosing takes, as long as all. It is
 * measured once, before the first step of so many rows is recorded, and takes about as long as that step.
 * Steps of one row are not asked about: a method's loss was calibrated on them, and a text alone gets the
 * same result on every machine.
 */
export class BreakEven {
  readonly #backend: Backend;
  readonly #model: Model;
  readonly #rule: BreakEvenRule;
  readonly #known = new Map<Sparsity, Map<number, Promise<Limits>>>();

  constructor(backend: Backend, model: Model, rule: BreakEvenRule = 'measured') {
    this.#backend = backend;
    this.#model = model;
    this.#rule = rule;
  }

  /** Undefined where the method always chooses. */
  async at(method: Sparsity, rows: number): Promise<Limits | undefined> {
    if (this.#rule === 'off') return undefined;
    if (this.#rule !== 'measured') return { ...ofAll(1), ...this.#rule };
    if (rows === 1) return undefined;
    const byRows = this.#known.get(method) ?? new Map<number, Promise<Limits>>();
    this.#known.set(method, byRows);
    const limits = byRows.get(rows) ?? this.#measure(method, rows);
    byRows.set(rows, limits);
    return limits;
  }

  async #measure(method: Sparsity, rows: number): Promise<Limits> {
    const never = ofAll(-1);
    const choosing = (limits: Limits): Promise<Choosing> =>
      timeChoosing(this.#backend, this.#model, method, rows, limits);
    // A method that chooses all the same has another reason than speed.
    if ((await choosing(never)).layers) return ofAll(1);
    const limits: Record<Skip, number> = ofAll(1);
    for (const skip of skips) {
      const { seconds, layers } = await choosing({ ...never, [skip]: 1 });
      if (layers) limits[skip] = await this.#limit(method, rows, skip, seconds / layers);
    }
    return limits;
  }

  /** The break-even share of what may be left out, where choosing it takes so many seconds a layer. */
  async #limit(method: Sparsity, rows: number, skip: Skip, choosing: number): Promise<number> {
    const { description } = this.#model;
    const slots = Math.min(attended, description.context);
    const shape = { ...cacheShape(description, slots, rows), layers: 1 };
    using cache = createCache(this.#backend, full, shape);
    using inputs = new Inputs(this.#backend, rows, slots - 1);
    const segments = [undefined, ...tried].map((share) =>
      this.#segments(method, inputs, cache, skip, share),
    );
    const programs: Program[] = [];
    try {
      for (const { g } of segments) programs.push(await this.#backend.compile(g.finish('part')));
      const [all = 0, ...chosen] = await fastest(this.#backend, programs);
      const { layers } = segments[0];
      return crossing(
        all / layers,
        chosen.map((seconds) => seconds / layers + choosing),
        tried,
      );
    } finally {
      for (const program of programs) program.release();
    }
  }

  /** What the first layers record after what may be left out is chosen, until the next choice. */
  #segments(
    method: Sparsity,
    inputs: Inputs,
    cache: Cache,
    skip: Skip,
    share: number | undefined,
  ): { g: Recorder; layers: number } {
    const { family, config, weights, description, roundsActivations = false } = this.#model;
    const whole = new Recorder({ roundsActivations });
    const parts: Command[][] = [];
    let from: number | undefined;
    const end = (): void => {
      if (from !== undefined) parts.push(whole.commands.slice(from));
      from = undefined;
    };
    const choose = (at: Skip, units: number, rows = 1): Selection => {
      end();
      if (at !== skip) return 'all';
      from = whole.commands.length;
      return share === undefined ? 'all' : inputs.selection(rows, units, share);
    };
    const { heads, neurons } = description;
    const asked = method.begin(whole, inputs);
    const selector = wrap(asked, {
      select: (at) =>
        at === 'heads' ? choose(at, heads, inputs.positions.shape[0]) : choose(at, neurons),
      // What is carried on is the same whatever was chosen: here, nothing.
      carry:
        asked.carry &&
        (skip === 'carried' ? () => choose(skip, neurons) : carryAbove(whole, Infinity)),
      inputs:
        asked.inputs &&
        ofMatrices(asked.inputs, ({ values }) => ({ select: choose('inputs', values.shape[1]) })),
    });
    const step = cache.begin(whole, unmoved(inputs));
    family.forward(whole, config, weights, {
      tokens: inputs.positions,
      positions: inputs.positions,
      // One layer's memory stands for every layer's, and nothing is stored in it.
      cache: { ...step, store: () => undefined, attend: (_, ...rest) => step.attend(0, ...rest) },
      sparsity: selector,
      logits: 'last',
    });
    // The last layer's neurons are followed by the output head.
    if (parts.length === 0) end();
    const g = new Recorder({ roundsActivations });
    let bytes = 0;
    let layers = 0;
    for (; layers < parts.length && bytes < triedBytes; layers++)
      for (const { op, operands, params } of parts[layers]) {
        g.record(op, operands, params);
        for (const tensor of Object.values(operands))
          if (tensor?.role === 'weights') bytes += byteLength(tensor.dtype, tensor.shape);
      }
    return { g, layers };
  }
}

/** The same limit of everything that may be left out. */
const ofAll = (limit: number): Record<Skip, number> => ({
  ...{ heads: limit, neurons: limit, carried: limit, inputs: limit },
});

/** The same answer for each matrix whose inputs a method chooses. */
const ofMatrices = (
  asked: NonNullable<Selector['inputs']>,
  answer: (x: Candidates) => InputChoice,
): NonNullable<Selector['inputs']> =>
  Object.fromEntries(
    Object.keys(asked).map((matrix) => [matrix, (_: number, x: Candidates) => answer(x)]),
  );

/** What one step's choices take alone, and how many layers choose. */
export interface Choosing {
  readonly seconds: number;
  readonly layers: number;
}

/** Time what a method records to choose, wherever it does, and nothing else. */
export async function timeChoosing(
  backend: Backend,
  { description, weights, roundsActivations = false }: Model,
  method: Sparsity,
  rows: number,
  limits?: Limits,
): Promise<Choosing> {
  using inputs = new Inputs(backend, rows);
  const { hiddenSize, heads, headDim, neurons } = description;
  const x = inputs.numbers(hiddenSize);
  const truths = { heads: inputs.numbers(heads), neurons: inputs.numbers(neurons) };
  const widths: Partial<Record<Matrix, number>> = { oProj: heads * headDim, downProj: neurons };
  const g = new Recorder({ roundsActivations });
  const { sequences, positions } = inputs;
  const selector = method.begin(g, { sequences, positions, limits });
  let layers = 0;
  for (let layer = 0; layer < description.layers; layer++) {
    const among = (matrix: Matrix): Candidates => ({
      values: inputs.numbers(widths[matrix] ?? hiddenSize),
      within: undefined,
      norms: () => weights.rowNorms(matrixName(layer, matrix), 1),
    });
    const chosen = sites.map((site) => selector.select(site, layer, x, () => truths[site]));
    if (selector.carry) chosen.push(selector.carry(layer, among('downProj')));
    for (const [matrix, choose] of Object.entries(selector.inputs ?? {}))
      chosen.push(choose(layer, among(matrix as Matrix)).select);
    if (chosen.some((selection) => selection !== 'all')) layers++;
  }
  if (g.commands.length === 0) return { seconds: 0, layers };
  const program = await backend.compile(g.finish());
  try {
    const [seconds = 0] = await fastest(backend, [program]);
    return { seconds, layers };
  } finally {
    program.release();
  }
}

/** Inputs of one step, and what else is allocated for it; all of it goes together. */
class Inputs implements Disposable {
  readonly sequences: Tensor;
  readonly positions: Tensor;
  readonly #backend: Backend;
  readonly #rows: number;
  readonly #owned: Tensor[] = [];
  readonly #random = uniform(1);

  constructor(backend: Backend, rows: number, position = 0) {
    this.#backend = backend;
    this.#rows = rows;
    this.sequences = this.#place('i32', [rows]);
    this.positions = this.#place('i32', [rows]);
    backend.write(
      this.sequences,
      Int32Array.from({ length: rows }, (_, row) => row),
    );
    backend.write(this.positions, new Int32Array(rows).fill(position));
  }

  /** Zeros [T, n]. */
  numbers(n: number): Tensor {
    return this.#place('f32', [this.#rows, n]);
  }

  /** As many random choices, each of a share of `units`. */
  selection(choices: number, units: number, share: number): Tensor {
    const select = this.#place('u32', [choices, 1 + units]);
    const content = new Uint32Array(choices * (1 + units));
    const count = Math.round(share * units);
    for (let row = 0; row < choices; row++) {
      const keys = Float64Array.from({ length: units }, this.#random);
      const order = Array.from(keys.keys()).sort((a, b) => keys[a] - keys[b]);
      const chosen = order.slice(0, count).sort((a, b) => a - b);
      content.set([count, ...chosen], row * (1 + units));
    }
    this.#backend.write(select, content);
    return select;
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#owned) this.#backend.free(tensor);
  }

  #place(dtype: Tensor['dtype'], shape: readonly number[]): Tensor {
    const tensor = this.#backend.allocate(dtype, shape, 'state');
    this.#owned.push(tensor);
    return tensor;
  }
}

/** Seconds of each program: the fastest of a few runs, in which they take turns. */
async function fastest(backend: Backend, programs: readonly Program[]): Promise<number[]> {
  const best = programs.map(() => Infinity);
  for (let run = -1; run < repeats; run++)
    for (const [i, program] of programs.entries()) {
      const start = performance.now();
      await backend.run(program);
      if (run >= 0) best[i] = Math.min(best[i], (performance.now() - start) / 1000);
    }
  return best;
}

/**
 * The share up to which choosing is no slower than computing `all`: where the lines between what was
 * measured at `shares` cross it for the last time.
 */
export function crossing(
  all: number,
  chosen: readonly number[],
  shares: readonly number[],
): number {
  const last = chosen.findLastIndex((seconds) => seconds <= all);
  if (last === shares.length - 1) return 1;
  const i = Math.max(0, last);
  const slope = (chosen[i + 1] - chosen[i]) / (shares[i + 1] - shares[i]);
  if (slope <= 0) return 0;
  return Math.max(0, shares[i] + (all - chosen[i]) / slope);
}

import type { Backend } from '../backend.ts';
import type { Cache } from '../cache.ts';
import { unmoved } from '../kv/parts/layout.ts';
import { matricesOf, matrixName } from '../model.ts';
import type { Read } from '../op.ts';
import { tally } from '../ops/tally.ts';
import { type Command, Recorder } from '../program.ts';
import { type Matrix, type Selection, type Selector, type Site, wrap } from '../selector.ts';
import { dense } from '../sparsity/dense.ts';
import { byteLength, type Tensor } from '../tensor.ts';
import type { Model } from './step.ts';

/**
 * What one run of a step read and computed. By site and layer, the share of its units that the method
 * kept: heads that a row computed (their mean); neurons that all rows together computed or, in a layer
 * that computed all, carried on after their activation.
 */
export interface StepUsage extends Readonly<Record<Site, readonly number[]>> {
  /** Texts that the step decoded. */
  readonly rows: number;
  /** The same before activations were known: 1 where a site was computed whole. */
  readonly chosen: Readonly<Record<Site, readonly number[]>>;
  /**
   * Of each matrix, the share of its bytes that were read, by layer. Above 1 where it was read more than
   * once, by a method that asks for the truth.
   */
  readonly read: Readonly<Partial<Record<Matrix, ArrayLike<number>>>>;
  /** Bytes read. */
  readonly weights: number;
  /** Bytes of predictors that were read. */
  readonly predictor: number;
  /** Bytes of keys and values that were read. */
  readonly kv: number;
}

/** A read of `bytes`, once or as often as the count at `count` says. */
type CountedRead = MatrixRead & { readonly count: number | undefined };

/**
 * Keeps account of one recorded step: listens to what its method answers, and counts what its commands
 * read by the selections they were given. One small tensor of counts is all that a run leaves to read.
 */
export class Accounts {
  /** The method's answers, overheard: what the model is to ask. */
  readonly selector: Selector;
  readonly #model: Model;
  readonly #chosen: Record<Site, Selection[]>;
  readonly #carried: Selection[];
  readonly #tallies = new Tallies();
  #reads: readonly CountedRead[] = [];
  #placed: Readonly<Record<Site | 'carried', readonly (Placed | undefined)[]>> | undefined;
  #counts: Tensor | undefined;

  constructor(selector: Selector, model: Model) {
    const { layers } = model.description;
    const all = (): Selection[] => new Array<Selection>(layers).fill('all');
    const [chosen, carried] = [{ heads: all(), neurons: all() }, all()];
    this.#model = model;
    this.#chosen = chosen;
    this.#carried = carried;
    this.selector = wrap(selector, {
      select: (site, layer, ...asked) =>
        (chosen[site][layer] = selector.select(site, layer, ...asked)),
      ...(selector.carry && {
        carry: (layer, neurons) => (carried[layer] = selector.carry!(layer, neurons)),
      }),
    });
  }

  /** Record the counting, once all else is recorded. */
  record(g: Recorder, backend: Backend): void {
    const tallies = this.#tallies;
    this.#reads = matrixReads(g.commands, this.#model).map((read) => ({
      ...read,
      count: read.select && tallies.place(read.select, read.group ?? 1),
    }));
    const place = (selections: readonly Selection[]) =>
      selections.map((selection) => tallies.placeSelection(selection));
    this.#placed = {
      neurons: place(this.#chosen.neurons),
      heads: place(this.#chosen.heads),
      carried: place(this.#carried),
    };
    this.#counts = backend.allocate('u32', [Math.max(1, tallies.length)], 'state');
    tallies.record(g, this.#counts);
  }

  /** u32: what a run counted. */
  get counts(): Tensor {
    return this.#counts!;
  }

  /** What a run did that counted so, of so many rows in these slots of the cache, by the tensors that hold them. */
  usage(counts: Uint32Array, rows: number, slots: ReadonlyMap<Tensor, Int32Array>): StepUsage {
    const { description } = this.#model;
    const { layers } = description;
    const bytes = { weights: 0, predictor: 0, kv: 0 };
    const matrices = matricesOf(description);
    const read = Object.fromEntries(matrices.map((matrix) => [matrix, new Float64Array(layers)]));
    for (const { role, bytes: each, select, count, perSlot, of } of this.#reads) {
      const times = count === undefined ? 1 : counts[count];
      // Of selections by row, each reads its own slots; their mean stands for all.
      const seen = perSlot
        ? seenSlots(slots.get(perSlot.slots)!, perSlot.most) / (select?.shape[0] ?? 1)
        : 1;
      bytes[role as keyof typeof bytes] += each * times * seen;
      if (of) read[of.matrix][of.layer] += (each * times) / of.bytes;
    }
    const placed = this.#placed!;
    const share = (at: Placed | undefined, units: number): number =>
      at ? counts[at.place] / (units * at.rows) : 1;
    const chosen = {
      heads: placed.heads.map((at) => share(at, description.heads)),
      neurons: placed.neurons.map((at) => share(at, description.neurons)),
    };
    const neurons = placed.neurons.map((at, layer) =>
      share(at ?? placed.carried[layer], description.neurons),
    );
    return { rows, chosen, heads: chosen.heads, neurons, read, ...bytes };
  }

  release(backend: Backend): void {
    if (this.#counts) backend.free(this.#counts);
  }
}

/** Cache slots the rows of a run saw, each at most `most` of them. */
const seenSlots = (slots: Int32Array, most: number): number =>
  slots.reduce((sum, slot) => sum + Math.min(slot + 1, most), 0);

/** Weight bytes a step of rows `inputs` [T] reads that selects everything. */
export function denseBytes(model: Model, cache: Cache, inputs: Tensor): number {
  const g = new Recorder();
  const rows = unmoved({ positions: inputs, sequences: inputs }, cache.layout.slots.length);
  model.family.forward(g, model.config, model.weights, {
    tokens: inputs,
    positions: inputs,
    cache: cache.begin(g, rows),
    sparsity: dense.begin(g, rows),
    logits: 'all',
  });
  return g.commands
    .flatMap(readsOf)
    .filter(({ role }) => role === 'weights')
    .reduce((sum, { bytes }) => sum + bytes, 0);
}

/** A read of a matrix of a block, of so many bytes where it is read whole; or of something else. */
interface MatrixRead extends Read {
  readonly of:
    { readonly matrix: Matrix; readonly layer: number; readonly bytes: number } | undefined;
}

const counted: readonly Read['role'][] = ['weights', 'predictor', 'kv'];

/** Weight, predictor and KV bytes that commands read in one run. */
function matrixReads(commands: readonly Command[], { description, weights }: Model): MatrixRead[] {
  const known = new Map<Tensor, MatrixRead['of']>();
  for (let layer = 0; layer < description.layers; layer++)
    for (const matrix of matricesOf(description)) {
      const w = weights.get(matrixName(layer, matrix));
      known.set(w, { matrix, layer, bytes: byteLength(w.dtype, w.shape) });
    }
  return commands.flatMap((command) => {
    const matrix = Object.values(command.operands).find((tensor) => tensor && known.has(tensor));
    const of = matrix && known.get(matrix);
    return readsOf(command).map((read) => ({
      ...read,
      of: read.role === 'weights' ? of : undefined,
    }));
  });
}

/** What a command reads of what is counted: as its op says, or every operand whole. */
function readsOf({ op, operands, params }: Command): Read[] {
  const reads =
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
    );
  return reads.filter(({ role }) => counted.includes(role));
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

import type { Tensor } from './tensor.ts';

/** Where a model can leave something out whole: heads of attention, neurons of the MLP. */
export const sites = ['heads', 'neurons'] as const;
/** A place where a model can leave something out whole. */
export type Site = (typeof sites)[number];

/** The matrices of a block; `gateProj` in gated models alone. */
export const matrices = [
  ...(['qProj', 'kProj', 'vProj', 'oProj'] as const),
  ...(['gateProj', 'upProj', 'downProj'] as const),
];
/** A matrix of a block, by the engine's name. */
export type Matrix = (typeof matrices)[number];

/**
 * What to compute: everything, or a u32 tensor [R, 1 + N] holding per row a count and that many
 * ascending indices. R is 1 (one choice for all rows of the step) or the rows' number. It is written
 * and read on the device; nothing waits for it on the host.
 */
export type Selection = 'all' | Tensor;

/** What ops take: no tensor selects all. */
export const asOperand = (selection: Selection): Tensor | undefined =>
  selection === 'all' ? undefined : selection;

/** Numbers that a method chooses among. Borrowed: valid in this recording only. */
export interface Candidates {
  /** f32 [T, N] */
  readonly values: Tensor;
  /** Those that were computed, [1, 1 + N]; the rest of `values` is undefined. Absent: all were. */
  readonly within: Tensor | undefined;
  /** Records nothing: ‖w[n]‖ of the weights that the n-th of them is multiplied by, f32 [N]. */
  readonly norms: () => Tensor;
}

/** Which inputs a matrix reads, and what stands for the others. */
export interface InputChoice {
  /** Of its N inputs: one choice for all rows, or one for each row, which then reads its own. */
  readonly select: Selection;
  /** f32 [T, outputs], added to the product: what a low-rank copy makes of the inputs left out, say. */
  readonly rest?: Tensor;
}

/**
 * Answers for one step. Blocks ask in order: each first for heads, then for neurons, then which of these
 * to carry on; and, before a matrix is multiplied, for its inputs.
 *
 * For example, a selector that computes everything, and carries on what exceeds a threshold of its layer:
 *
 *     { select: () => 'all', carry: carryAbove(g, [0.1, 0.2, 0.25]) }
 */
export interface Selector {
  /**
   * Choose at one site of block `layer`: neurons for all rows together, heads for each.
   *
   * `x` [T, E] is what the site's projections read: the attention input, after its norm where the
   * family has one there, or the MLP input. Borrowed: valid in this recording only.
   * `truth` records the exact contribution of each candidate, [T, N], from dense weights: for neurons
   * |activation| · ‖its row of the down projection‖, for heads ‖output‖ · the root-mean-square gain of
   * its rows of the output projection. Calling it costs what dense costs; controls and training do.
   */
  select(site: Site, layer: number, x: Tensor, truth: () => Tensor): Selection;

  /**
   * Choose which neurons of block `layer` are carried into what follows their activation: the down
   * projection and, in gated models, the up projection before it. One choice [1, 1 + F] for all rows,
   * among the neurons that were selected; 'all' carries every one of these.
   *
   * `values` are the activations: act(up · x), in gated models act(gate · x). `norms` are those of the rows
   * of the down projection. Absent: every selected neuron is carried.
   */
  carry?(layer: number, neurons: Candidates): Selection;

  /**
   * By matrix: choose which of its inputs a matrix of block `layer` reads. `values` [T, N] are what it is
   * to multiply: the hidden state, for `oProj` the outputs of heads (zeros of those that were not chosen),
   * for `downProj` what neurons give on, `within` those that are carried; `norms` are those of the rows of
   * weights, ‖w[n]‖. Where all heads or carried neurons are wanted, 'all' says so.
   *
   * `oProj` and `downProj` always lie by inputs; a method declares the others (`Method.inputs`), as they
   * must be laid out so when they are loaded. All outputs of such a matrix are computed, whatever heads or
   * neurons were selected. Prefill reads all inputs.
   */
  readonly inputs?: Readonly<
    Partial<Record<Matrix, (layer: number, x: Candidates) => InputChoice>>
  >;
}

/**
 * `target` with some members in place of its own. All others stay, those that nobody here knows too, and
 * its methods run on itself. For example, a method that carries on all it selects:
 *
 *     wrap(method, { begin: (g, step) => wrap(method.begin(g, step), { carry: undefined }) })
 */
export function wrap<T extends object>(target: T, members: Undefinable<T>): T {
  const get = (_: T, key: string | symbol): unknown => {
    if (Object.hasOwn(members, key)) return Reflect.get(members, key);
    const value: unknown = Reflect.get(target, key);
    return typeof value === 'function' ? (value.bind(target) as unknown) : value;
  };
  const has = (_: T, key: string | symbol): boolean =>
    Object.hasOwn(members, key) || Reflect.has(target, key);
  return new Proxy(Object.create(Object.getPrototypeOf(target) as object | null) as T, {
    get,
    has,
    ownKeys: () => [...new Set([...Reflect.ownKeys(target), ...Reflect.ownKeys(members)])],
    getOwnPropertyDescriptor: (_, key) =>
      Object.hasOwn(target, key) || Object.hasOwn(members, key)
        ? { configurable: true, enumerable: true, value: get(_, key) }
        : undefined,
  });
}

type Undefinable<T> = { readonly [K in keyof T]?: T[K] | undefined };

import type { Backend } from '../backend.ts';
import { type Model } from '../engine/step.ts';
import { cacheShape, createCache } from '../kv/cache.ts';
import { full } from '../kv/full.ts';
import { unmoved } from '../kv/parts/layout.ts';
import { Recorder } from '../program.ts';
import { dense } from '../sparsity/dense.ts';
import { baseOf, type Tensor } from '../tensor.ts';

/** How a matrix takes part in a dense step. */
export interface Use {
  /** `table`: its rows are looked up; `head`: it makes the logits; `inner`: one product, of `x`. */
  readonly kind: 'table' | 'head' | 'inner';
  /** [T, inputs] */
  readonly x: Tensor;
  /** One row an input. */
  readonly transposed: boolean;
}

/** A recorded dense step of one window, before it is compiled, and what it does with each matrix. */
export interface DenseStep extends Disposable {
  readonly g: Recorder;
  /** i32 [T], written before a run. */
  readonly tokens: Tensor;
  /** By name of the weight; a table that is also the head is a head. */
  readonly uses: ReadonlyMap<string, Use>;
}

/**
 * Record a dense step of a window of `rows` tokens and find, among the recorded ops, what each weight
 * multiplies. Families need not know that anybody looks.
 */
export function recordDense(
  backend: Backend,
  { family, config, description, weights }: Model,
  rows: number,
): DenseStep {
  const cache = createCache(backend, full, cacheShape(description, rows));
  const [tokens, positions, sequences] = [0, 1, 2].map(() =>
    backend.allocate('i32', [rows], 'state'),
  );
  backend.write(
    positions,
    Int32Array.from({ length: rows }, (_, t) => t),
  );
  const g = new Recorder();
  const step = { positions, sequences };
  const { logits } = family.forward(g, config, weights, {
    tokens,
    positions,
    cache: cache.begin(g, unmoved(step)),
    sparsity: dense.begin(g, step),
    logits: 'last',
  });

  const names = new Map<Tensor, string>();
  for (const [name, { kind }] of Object.entries(family.weights(config))) {
    const tensor = weights.find(name);
    if (tensor && kind === 'matrix') names.set(tensor, name);
  }
  const uses = new Map<string, Use>();
  for (const { op, operands } of g.commands) {
    const name = names.get((operands.w ?? operands.table)!);
    if (name === undefined) continue;
    const kind = operands.table ? 'table' : baseOf(operands.y!) === logits ? 'head' : 'inner';
    const x = (operands.x ?? operands.ids)!;
    uses.set(name, { kind, x, transposed: op.name === 'linearTransposed' });
  }
  return {
    g,
    tokens,
    uses,
    [Symbol.dispose]: () => {
      cache[Symbol.dispose]();
      [tokens, positions, sequences].forEach((tensor) => backend.free(tensor));
    },
  };
}

import type { Backend } from '../../backend.ts';
import type { Rotation, KeySource, StepRows } from '../../cache.ts';
import { backlog, backlogRows, recent } from '../../ops/backlog.ts';
import { storeMissing } from '../../ops/missing.ts';
import type { Recorder } from '../../program.ts';
import { byteLength, type Tensor } from '../../tensor.ts';
import { anglesOf } from './angles.ts';
import type { CacheShape, LayerMemory } from './memory.ts';

/** What a layer needs to make keys and values later; allocated when a step first does. */
interface Inputs {
  /** [B, P, E] */
  readonly ring: Tensor;
  /** i32 [B, G]: as `backlog` has it. */
  readonly known: Tensor;
}

/**
 * Keys and values of heads that were not chosen when their token came: of each text the last P inputs of a layer are kept, and
 * a head that is chosen again, or has missed P tokens, gets all that it misses at once, for one reading of its weights
 * (Deja Vu, arXiv 2310.17157).
 */
export class LateKeys implements Disposable {
  readonly #backend: Backend;
  readonly #shape: CacheShape;
  readonly #memory: readonly LayerMemory[];
  readonly #inputs = new Map<number, Inputs>();

  constructor(backend: Backend, shape: CacheShape, memory: readonly LayerMemory[]) {
    this.#backend = backend;
    this.#shape = shape;
    this.#memory = memory;
  }

  get residentBytes(): number {
    return this.#tensors().reduce((sum, { dtype, shape }) => sum + byteLength(dtype, shape), 0);
  }

  /** [B, P, E] of a layer, for inputs like x. */
  ringOf(layer: number, { x }: KeySource): Tensor {
    const { sequences, kvHeads } = this.#shape;
    const known = this.#inputs.get(layer);
    if (known) return known.ring;
    const made = {
      ring: this.#backend.allocate(x.dtype, [sequences, backlogRows, x.shape[1]], 'state'),
      known: this.#backend.allocate('i32', [sequences, kvHeads], 'state'),
    };
    this.#inputs.set(layer, made);
    return made.ring;
  }

  /**
   * What records, on `g`, that heads of a layer catch up, the given ones or all; `fresh`: the token of the row is new to
   * them.
   */
  catchingUp(
    g: Recorder,
    { sequences, positions, complete }: StepRows,
    fresh: boolean,
  ): (layer: number, heads: Tensor | undefined, source: KeySource) => void {
    const ringAngles = anglesOf(g, () => recent(g, positions));
    const turned = (rotation: Rotation | undefined): Tensor | undefined =>
      rotation && ringAngles(rotation);
    return (layer, heads, source) => {
      const { ring, known } = this.#inputs.get(layer)!;
      const gaps = backlog(g, {
        ...{ sequences, positions, complete: complete!, known, fresh },
        select: heads,
      });
      const { k, v } = source.make(g, { ring, ...gaps });
      const { keys, values } = this.#memory[layer];
      storeMissing(g, { x: k, angles: turned(source.rotation), ...gaps, cache: keys });
      storeMissing(g, { x: v, angles: undefined, ...gaps, cache: values });
    };
  }

  #tensors(): Tensor[] {
    return [...this.#inputs.values()].flatMap(({ ring, known }) => [ring, known]);
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#tensors()) this.#backend.free(tensor);
  }
}

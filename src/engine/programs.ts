import type { Sparsity } from '../sparsity.ts';
import type { StepOptions, StepProgram } from './step.ts';

/**
 * All that a recorded step depends on within one batch: two asks with the same recipe share a program, and
 * no others do. Where choosing pays follows from method and rows; the cache and its keys are the batch's.
 */
export interface Recipe extends Required<Omit<StepOptions, 'limits' | 'keys' | 'measure'>> {
  readonly method: Sparsity;
  readonly measure: StepOptions['measure'] | undefined;
}

const parts = Object.keys({
  method: true,
  rows: true,
  logits: true,
  measure: true,
  hidden: true,
  chooses: true,
} satisfies Record<keyof Recipe, true>) as readonly (keyof Recipe)[];

/** A step that is recorded. */
export interface Recorded {
  readonly recipe: Recipe;
  readonly step: StepProgram;
  /** How often it has run; NaN once it is released. */
  runs: number;
}

/** How many recorded steps stay. */
export interface ProgramBounds {
  /** Bytes of scratch of all of them together. */
  readonly bytes: number;
  /** As many stay whatever they take. */
  readonly anyway: number;
}

/** Beside a text's decode step there are those that measure it, and chunks of its prompts. */
const usual: ProgramBounds = { bytes: 2 ** 28, anyway: 8 };

/**
 * The recorded steps of one batch, found by recipe.
 *
 * Each has scratch of its own, about as much as it has rows: so they are bounded by what their scratch takes
 * together, and the least recently used go first. Decode steps of every number of rows and of several methods
 * stay well below the bound; chunks of prompts, of which each odd length is a program, come and go.
 */
export class Programs implements Disposable {
  readonly #record: (recipe: Recipe) => Promise<StepProgram>;
  readonly #leaving: (step: StepProgram) => Promise<void>;
  readonly #bounds: ProgramBounds;
  /** Least recently used first. */
  readonly #kept: Recorded[] = [];
  #bytes = 0;

  /** `leaving` is awaited before a program is released: something may be due that only it can do. */
  constructor(
    record: (recipe: Recipe) => Promise<StepProgram>,
    leaving: (step: StepProgram) => Promise<void>,
    bounds = usual,
  ) {
    this.#record = record;
    this.#leaving = leaving;
    this.#bounds = bounds;
  }

  /** How many are kept. */
  get size(): number {
    return this.#kept.length;
  }

  /** The step of this recipe, where it is recorded. */
  find(recipe: Recipe): Recorded | undefined {
    const at = this.#kept.findLastIndex((kept) => same(kept.recipe, recipe));
    if (at < 0) return undefined;
    const found = this.#kept[at];
    if (at < this.#kept.length - 1) this.#kept.push(...this.#kept.splice(at, 1));
    return found;
  }

  /** Record the step of this recipe; others may be released for it. */
  async record(recipe: Recipe): Promise<Recorded> {
    const recorded = { recipe, step: await this.#record(recipe), runs: 0 };
    this.#kept.push(recorded);
    this.#bytes += recorded.step.scratchBytes;
    const { bytes, anyway } = this.#bounds;
    while (this.#bytes > bytes && this.#kept.length > anyway) {
      const [oldest] = this.#kept;
      const { step } = oldest;
      await this.#leaving(step);
      this.#kept.shift();
      oldest.runs = NaN;
      this.#bytes -= step.scratchBytes;
      step[Symbol.dispose]();
    }
    return recorded;
  }

  [Symbol.dispose](): void {
    for (const { step } of this.#kept.splice(0)) step[Symbol.dispose]();
  }
}

const same = (a: Recipe, b: Recipe): boolean => parts.every((part) => a[part] === b[part]);

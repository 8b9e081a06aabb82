import type { WeightSpec } from '../../model.ts';
import { embeddingName, headName } from './head.ts';

type Bias = boolean | 'optional';

/** How a fused projection's rows of queries, keys and values lie. */
export interface FusedLayout {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /**
   * `groups`: for each KV head the query heads it serves, its key, its value; `kinds`: all queries, all
   * keys, all values.
   */
  readonly by: 'groups' | 'kinds';
}

/**
 * The weights of a family, collected by engine name and by the name checkpoints have, which may or may
 * not begin with one of `prefixes`.
 *
 * Projections that read the hidden state lie one output a row, those that write it one input a row;
 * checkpoints have one output a row everywhere, or, `oneInputARow`, one input a row.
 */
export class WeightList {
  readonly specs: Record<string, WeightSpec> = {};
  readonly #prefixes: readonly string[];
  readonly #oneInputARow: boolean;

  constructor(prefixes: readonly string[], { oneInputARow = false } = {}) {
    this.#prefixes = prefixes;
    this.#oneInputARow = oneInputARow;
  }

  /** Token embedding [V, W] and the output head, where it is not tied to it. */
  embedding(from: string, head: string | undefined, shape: readonly [number, number]): void {
    this.table(embeddingName, from, shape);
    if (head === undefined) this.#absent(headName, 'matrix', shape);
    else this.specs[headName] = { kind: 'matrix', shape, from: `${head}.weight` };
  }

  /** A matrix that is the same in checkpoints. */
  table(name: string, from: string, shape: readonly [number, number]): void {
    this.#add(name, `${from}.weight`, { kind: 'matrix', shape });
  }

  /** `from` undefined: a norm without gain and bias. */
  norm(name: string, from: string | undefined, size: number, bias: Bias = true): void {
    if (from === undefined) {
      for (const absent of [name, `${name}.bias`]) this.#absent(absent, 'vector', [size]);
      return;
    }
    this.#add(name, `${from}.weight`, { kind: 'vector', shape: [size] });
    this.#bias(name, from, size, bias);
  }

  /** A projection of the hidden state, or a part of a fused one. */
  inward(
    name: string,
    from: string,
    [outputs, inputs]: readonly [number, number],
    bias: Bias,
    part?: WeightSpec['part'],
  ): void {
    const shape = [outputs, inputs];
    const more = part && { part };
    this.#add(name, `${from}.weight`, {
      kind: 'matrix',
      shape,
      transposed: this.#oneInputARow,
      ...more,
    });
    this.#bias(name, from, outputs, bias, more);
  }

  /** A projection into the hidden state, whose rows are skipped with the inputs they belong to. */
  outward(name: string, from: string, shape: readonly [number, number], bias: Bias): void {
    const transposed = !this.#oneInputARow;
    this.#add(name, `${from}.weight`, { kind: 'matrix', shape, transposed, byInputs: true });
    this.#bias(name, from, shape[1], bias);
  }

  /** `qProj`, `kProj` and `vProj` under `prefix`, fused in checkpoints. */
  fused(prefix: string, from: string, inputs: number, bias: Bias, layout: FusedLayout): void {
    const { heads, kvHeads, headDim: D, by } = layout;
    const served = heads / kvHeads;
    const rows = (heads + 2 * kvHeads) * D;
    const add = (name: string, count: number, place: (head: number) => number): void => {
      const row = (r: number): number => place(Math.floor(r / D)) * D + (r % D);
      this.inward(`${prefix}.${name}`, from, [count * D, inputs], bias, { rows, row });
    };
    const inGroup = (h: number): number => Math.floor(h / served) * (served + 2) + (h % served);
    const [query, key, value] =
      by === 'kinds'
        ? [0, heads, heads + kvHeads].map((first) => (h: number) => first + h)
        : [inGroup, ...[served, served + 1].map((at) => (h: number) => h * (served + 2) + at)];
    add('qProj', heads, query);
    add('kProj', kvHeads, key);
    add('vProj', kvHeads, value);
  }

  #bias(
    name: string,
    from: string,
    size: number,
    bias: Bias,
    more?: Pick<WeightSpec, 'part'>,
  ): void {
    if (!bias) {
      this.#absent(`${name}.bias`, 'vector', [size]);
      return;
    }
    const optional = bias === 'optional';
    this.#add(`${name}.bias`, `${from}.bias`, {
      kind: 'vector',
      shape: [size],
      ...more,
      ...(optional && { optional }),
    });
  }

  /** What other models have there: `forward` may look for it, and finds none. */
  #absent(name: string, kind: WeightSpec['kind'], shape: readonly number[]): void {
    this.specs[name] = { kind, shape, from: [], optional: true };
  }

  #add(name: string, from: string, spec: Omit<WeightSpec, 'from'>): void {
    this.specs[name] = { ...spec, from: [...this.#prefixes.map((p) => `${p}.${from}`), from] };
  }
}

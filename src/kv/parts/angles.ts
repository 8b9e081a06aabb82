import type { Backend } from '../../backend.ts';
import type { Rotation } from '../../cache.ts';
import { rotaryAngles, rotaryAnglesInto } from '../../ops/rotary.ts';
import type { Recorder } from '../../program.ts';
import type { Tensor } from '../../tensor.ts';

/** Angles of positions by their rotation, recorded when first asked for, once a step. */
export function anglesOf(g: Recorder, positions: () => Tensor): (rotation: Rotation) => Tensor {
  const tables = new Map<Tensor, Tensor>();
  let places: Tensor | undefined;
  return ({ frequencies, scale }) => {
    places ??= positions();
    const table = tables.get(frequencies) ?? rotaryAngles(g, places, frequencies, scale);
    tables.set(frequencies, table);
    return table;
  };
}

/**
 * Angles [S, R] of all places in the cache, for keys that are turned when they are read: allocated when a step first asks,
 * computed once before it first runs.
 */
export class PlaceAngles implements Disposable {
  readonly #backend: Backend;
  readonly #slots: number;
  readonly #tables = new Map<Tensor, Tensor>();
  readonly #empty: Rotation[] = [];
  #places: Tensor | undefined;

  constructor(backend: Backend, slots: number) {
    this.#backend = backend;
    this.#slots = slots;
  }

  /** The table of a rotation, by its frequencies; empty until `filling` has run. */
  of(rotation: Rotation): Tensor {
    const { frequencies } = rotation;
    const known = this.#tables.get(frequencies);
    if (known) return known;
    const table = this.#backend.allocate('f32', [this.#slots, 2 * frequencies.shape[0]], 'state');
    this.#tables.set(frequencies, table);
    this.#empty.push(rotation);
    return table;
  }

  /** What records the computing of tables that are empty; undefined where none is. */
  filling(): ((g: Recorder) => void) | undefined {
    if (this.#empty.length === 0) return undefined;
    const positions = (this.#places ??= this.#everyPlace());
    return (g) => {
      for (const { frequencies, scale } of this.#empty.splice(0))
        rotaryAnglesInto(g, { positions, frequencies, y: this.#tables.get(frequencies)! }, scale);
    };
  }

  #everyPlace(): Tensor {
    const places = this.#backend.allocate('i32', [this.#slots], 'state');
    this.#backend.write(
      places,
      Int32Array.from({ length: this.#slots }, (_, place) => place),
    );
    return places;
  }

  [Symbol.dispose](): void {
    for (const table of this.#tables.values()) this.#backend.free(table);
    if (this.#places) this.#backend.free(this.#places);
  }
}

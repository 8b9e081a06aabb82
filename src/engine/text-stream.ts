import type { Tokenizer } from '../tokenizer/index.ts';

/**
 * Turns generated ids into text as it becomes certain: never half a character, and nothing that may
 * still turn out to be the beginning of a stop text.
 */
export class TextStream {
  readonly #stops: readonly string[];
  readonly #decoder: { push(id: number): string; end(): string } | undefined;
  #held = '';
  #value = '';
  #stopped = false;

  /** Without a tokenizer every text is empty. */
  constructor(tokenizer: Tokenizer | undefined, stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop.length > 0);
    this.#decoder = tokenizer?.stream();
  }

  /** All text given out so far. */
  get value(): string {
    return this.#value;
  }

  /** A stop text was met; it and what follows are left out. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Add an id; returns text that is now certain. */
  push(id: number): string {
    return this.#take(this.#decoder?.push(id) ?? '', false);
  }

  /** No id follows: what was held back. */
  end(): string {
    return this.#stopped ? '' : this.#take(this.#decoder?.end() ?? '', true);
  }

  #take(added: string, last: boolean): string {
    this.#held += added;
    const places = this.#stops.map((stop) => this.#held.indexOf(stop)).filter((at) => at >= 0);
    if (places.length) {
      this.#stopped = true;
      return this.#give(Math.min(...places));
    }
    return this.#give(last ? this.#held.length : this.#held.length - this.#doubtful());
  }

  /** Characters at the end that begin a stop text. */
  #doubtful(): number {
    const longest = Math.max(0, ...this.#stops.map((stop) => stop.length - 1));
    for (let n = Math.min(longest, this.#held.length); n > 0; n--)
      if (this.#stops.some((stop) => stop.startsWith(this.#held.slice(-n)))) return n;
    return 0;
  }

  #give(count: number): string {
    const text = this.#held.slice(0, count);
    this.#held = this.#held.slice(count);
    this.#value += text;
    return text;
  }
}

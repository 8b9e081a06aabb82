import { EngineError } from '../../errors.ts';
import type { GgufHeader, MetadataValue, Numbers } from './reader.ts';

/** Metadata of a file by key, as what they must be. `~` stands for the name of the architecture. */
export class Metadata {
  readonly where: string;
  readonly architecture: string;
  readonly #values: GgufHeader['metadata'];

  /** Throws `BAD_CONFIG` where no architecture is named. */
  constructor(where: string, { metadata }: GgufHeader) {
    this.where = where;
    this.#values = metadata;
    this.architecture = this.text('general.architecture') ?? this.#refuse('general.architecture');
  }

  number(key: string): number | undefined {
    return this.#get(key, 'a finite number', (value) =>
      typeof value === 'number' && Number.isFinite(value) ? value : undefined,
    );
  }

  /** A whole number; of an array, which has one for each layer, the value that all have. */
  whole(key: string): number | undefined {
    return this.#get(key, 'a whole number >= 0, the same in every layer', (value) => {
      const one = ArrayBuffer.isView(value) && new Set(value).size === 1 ? value[0] : value;
      return typeof one === 'number' && Number.isSafeInteger(one) && one >= 0 ? one : undefined;
    });
  }

  /** A whole number that must be there. */
  count(key: string): number {
    return this.whole(key) ?? this.#refuse(key);
  }

  flag(key: string): boolean | undefined {
    return this.#get(key, 'a boolean', (value) => (typeof value === 'boolean' ? value : undefined));
  }

  text(key: string): string | undefined {
    return this.#get(key, 'a text', (value) => (typeof value === 'string' ? value : undefined));
  }

  texts(key: string): readonly string[] | undefined {
    return this.#get(key, 'texts', (value) => (Array.isArray(value) ? value : undefined));
  }

  numbers(key: string): Numbers | undefined {
    return this.#get(key, 'numbers', (value) => (ArrayBuffer.isView(value) ? value : undefined));
  }

  #key(key: string): string {
    return key.replace('~', this.architecture);
  }

  #get<T>(
    key: string,
    expected: string,
    read: (value: MetadataValue) => T | undefined,
  ): T | undefined {
    const value = this.#values.get(this.#key(key));
    if (value === undefined) return undefined;
    const result = read(value);
    if (result !== undefined) return result;
    const shown = typeof value === 'object' ? `an array of ${value.length}` : JSON.stringify(value);
    throw this.failure(`${this.#key(key)} is ${shown.slice(0, 100)}`, expected);
  }

  #refuse(key: string): never {
    throw this.failure(`has no ${this.#key(key)}`, 'the metadata of a model');
  }

  failure(found: string, expected: string): EngineError {
    return new EngineError(
      'BAD_CONFIG',
      `${this.where}: ${found}; expected ${expected}; choose another file`,
    );
  }
}

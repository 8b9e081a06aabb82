import type { Parser } from './values.ts';

/** One flag of the command line; `--max-tokens` is also the variable DEJAVU_MAX_TOKENS. */
export interface Flag<T> {
  /** As commander reads it: `-p, --prompt <text>`. */
  readonly usage: string;
  readonly help: string;
  /** All values that were given, in order; at least one. */
  readonly parse: (given: readonly string[], where: string) => T;
}

// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- any flags, by any names
export type Flags = Readonly<Record<string, Flag<{} | null>>>;

/** What was asked for, by name; absent where it was not. */
export type Values<F extends Flags> = {
  readonly [K in keyof F]?: F[K] extends Flag<infer T> ? T : never;
};

/** A flag with one value: the last that is given. */
export const flag = <T>(usage: string, help: string, parse: Parser<T>): Flag<T> => ({
  usage,
  help,
  parse: (given, where) => parse(given[given.length - 1], where),
});

/** A flag whose values are all taken. */
export const repeated = <T>(usage: string, help: string, parse: Parser<T>): Flag<T[]> => ({
  usage,
  help,
  parse: (given, where) => given.map((one) => parse(one, where)),
});

/** Several lists of numbers by id; those of one id are added up. */
export const sums = (
  usage: string,
  help: string,
  parse: Parser<(readonly [number, number])[]>,
): Flag<Record<number, number>> => ({
  usage,
  help,
  parse: (given, where) => {
    const total: Record<number, number> = {};
    for (const [id, value] of given.flatMap((one) => parse(one, where)))
      total[id] = (total[id] ?? 0) + value;
    return total;
  },
});

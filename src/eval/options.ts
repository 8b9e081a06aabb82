import { EngineError, expectWhole } from '../errors.ts';
import { nearest } from '../nearest.ts';

/** One option of a task: a whole number of at least `least`, a number within bounds, or a text. */
export type TaskOption = {
  /** For people, with the default: `ids of a window (default: 512)`. */
  readonly help: string;
} & (
  | {
      /** What its value is. */
      readonly kind: 'whole';
      readonly least: number;
    }
  | { readonly kind: 'number'; readonly least: number; readonly most?: number }
  | { readonly kind: 'text' }
);

/** Options of a task, by name. */
export type TaskOptions = Readonly<Record<string, TaskOption>>;

/** Those of a task that has none of its own. */
export type NoOptions = Record<never, never>;

interface Kinds {
  readonly whole: number;
  readonly number: number;
  readonly text: string;
}

/** What a task is told, by the option's name: the values of its options, absent where they were not given. */
export type ValuesOf<O> = string extends keyof O
  ? unknown
  : {
      readonly [K in keyof O]?:
        | (O[K] extends { readonly kind: infer N extends keyof Kinds } ? Kinds[N] : never)
        | undefined;
    };

/** Throws `BAD_REQUEST` where a value is none of its option's. */
export function expectValue(name: string, option: TaskOption, value: unknown): void {
  if (option.kind === 'whole') {
    expectWhole(name, value as number, option.least);
    return;
  }
  if (option.kind === 'text' && typeof value === 'string') return;
  if (option.kind === 'number') {
    const { least, most = Infinity } = option;
    if (typeof value === 'number' && value >= least && value <= most) return;
    const bounds = most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`;
    throw refused(name, value, `a number ${bounds}`);
  }
  throw refused(name, value, 'a text');
}

const refused = (name: string, value: unknown, expected: string): EngineError =>
  new EngineError(
    'BAD_REQUEST',
    `\`${name}\` is ${JSON.stringify(value)}, expected ${expected}; correct it`,
  );

/**
 * Throws `BAD_REQUEST` for names that are none of these, with the nearest that is.
 *
 *     expectNames('evaluate', { txt: 'a' }, ['text', 'limit']); // … there is no option "txt", did you mean `text`
 */
export function expectNames(where: string, given: object, names: readonly string[]): void {
  for (const name of Object.keys(given)) {
    if (names.includes(name)) continue;
    const near = nearest(name, names);
    throw new EngineError(
      'BAD_REQUEST',
      `${where}: there is no option ${JSON.stringify(name)}, expected ${near ? `perhaps \`${near}\`` : names.map((known) => `\`${known}\``).join(', ')}; correct it or leave it out`,
    );
  }
}

import type { EngineError } from '../errors.ts';
import type { Flags, Values } from './flags.ts';
import type { Io } from './io.ts';

/** One command: what it takes, and what it does. Flags that are not listed are refused. */
export interface Command<F extends Flags = Flags> {
  readonly name: string;
  readonly summary: string;
  /**
   * Its model argument; `optional` where the command does without or has a default. A model of the hub is
   * fetched before the command runs, but for one that takes the `id` itself.
   */
  readonly model: 'required' | 'optional' | 'id' | 'none';
  readonly flags: F;
  run(request: Request<F>): Promise<Outcome>;
}

export interface Request<F extends Flags> {
  /** There where the command requires it. */
  readonly model: string | undefined;
  readonly flags: Values<F>;
  /** A JSON object is wanted: nothing else may be written to stdout. */
  readonly json: boolean;
  readonly io: Io;
}

/** What goes to stdout: the object with --json, else the text. */
export interface Outcome {
  readonly result: object;
  readonly text: string;
  /** The work was done and its result is that something is wrong. */
  readonly failure?: EngineError;
}

/** Infers the flags' types. */
export const command = <const F extends Flags>(definition: Command<F>): Command<F> => definition;

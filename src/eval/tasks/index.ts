import { EngineError } from '../../errors.ts';
import type { ValuesOf } from '../options.ts';
import type { AnyItem, Task } from '../task.ts';
import { lambadaOpenai } from './lambada-openai.ts';
import { perplexity } from './perplexity.ts';
import { piqa } from './piqa.ts';
import { streamPerplexity } from './stream-perplexity.ts';

/** Every task there is. */
export const tasks = [
  perplexity,
  streamPerplexity,
  lambadaOpenai,
  piqa,
] as const satisfies readonly Task[];

/** Find a task by name. Throws `BAD_REQUEST`. */
export function findTask(name: string): Task {
  const task = (tasks as readonly Task[]).find((candidate) => candidate.name === name);
  if (task) return task;
  const known = tasks.map((candidate) => candidate.name).join(', ');
  throw new EngineError('BAD_REQUEST', `\`tasks\`: there is no task "${name}"; choose of ${known}`);
}

type Of<T> = T extends Task<AnyItem, infer O> ? (keyof O extends never ? never : O) : never;

/** Options of each task that has some. */
type Listed = Of<(typeof tasks)[number]>;

/** All members of a union at once. */
type All<U> = (U extends unknown ? (u: U) => void : never) extends (all: infer A) => void
  ? A
  : never;

/** What the tasks above may be told, by name. */
export type KnownOptions = ValuesOf<All<Listed>>;

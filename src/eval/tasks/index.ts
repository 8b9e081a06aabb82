import { EngineError } from '../../errors.ts';
import type { Task } from '../task.ts';
import { perplexity } from './perplexity.ts';
import { streamPerplexity } from './stream-perplexity.ts';

/** Every task there is. */
export const tasks: readonly Task[] = [perplexity, streamPerplexity];

/** Find a task by name. Throws `BAD_REQUEST`. */
export function findTask(name: string): Task {
  const task = tasks.find((candidate) => candidate.name === name);
  if (task) return task;
  const known = tasks.map((candidate) => candidate.name).join(', ');
  throw new EngineError('BAD_REQUEST', `\`tasks\`: there is no task "${name}"; choose of ${known}`);
}

import { EngineError, expectWhole } from '../errors.ts';
import { expectNames, expectValue, type TaskOption, type TaskOptions } from './options.ts';
import type { Task } from './task.ts';
import { tasks as listed } from './tasks/index.ts';

/** What every task may be told, or whoever runs it. */
const common = ['method', 'policy', 'signal', 'limit', 'onProgress', 'onPoint', 'rssBytes'];

/** What is scored: what it is for, and which tasks it is for. */
const inputs = {
  text: { what: 'the text to score', of: ({ items }: Task) => !items },
  data: { what: 'the folder of its items', of: ({ items }: Task) => items !== undefined },
};

/** Options that some tasks have, by name. */
export const optionsOf = (tasks: readonly Task[]): ReadonlyMap<string, TaskOption> =>
  new Map(tasks.flatMap(({ options = {} }) => Object.entries(options as TaskOptions)));

/** Throws `BAD_REQUEST` for what none of the tasks uses, what one of them lacks, and values that cannot be. */
export function expectAsked(chosen: readonly Task[], options: object): void {
  const known = optionsOf([...listed, ...chosen]);
  const names = [...Object.keys(inputs), ...known.keys()];
  expectNames('evaluate', options, [...common, ...names]);
  if (chosen.length === 0)
    throw new EngineError('BAD_REQUEST', '`tasks` names no task, expected at least one');
  const given = new Map<string, unknown>(
    Object.entries(options).filter(([, value]) => value !== undefined),
  );
  const own = optionsOf(chosen);
  for (const name of names.filter((name) => given.has(name))) {
    const input = inputs[name as keyof typeof inputs] as (typeof inputs)['text'] | undefined;
    if (input ? !chosen.some(input.of) : !own.has(name))
      throw new EngineError(
        'BAD_REQUEST',
        `\`${name}\` is given, but none of ${chosen.map((task) => task.name).join(', ')} uses it; leave it out`,
      );
    if (!input) expectValue(name, known.get(name)!, given.get(name));
  }
  if (given.has('limit')) expectWhole('limit', given.get('limit') as number, 1);
  for (const [name, { what, of }] of Object.entries(inputs)) {
    const lacks = given.has(name) ? undefined : chosen.find(of);
    if (lacks)
      throw new EngineError(
        'BAD_REQUEST',
        `${lacks.name}: \`${name}\` is missing, expected ${what}; add it`,
      );
  }
}

import type { Engine } from '../engine/engine.ts';
import type { ItemFile } from './items.ts';
import { type Likelihood, Likelihoods } from './likelihood.ts';
import { meanOf } from './metrics.ts';
import type { NoOptions } from './options.ts';
import { defineTask, type Task, type TaskResult, type TaskRun } from './task.ts';

/** A question and its answers, one of which is right. */
export interface Question {
  /** What comes before each answer. */
  readonly context: string;
  /** Without the space that sets them off. */
  readonly choices: readonly string[];
  /** Index of the right one. */
  readonly gold: number;
}

/** What sets a task of questions apart. */
export interface Choices<Item> extends Pick<Task, 'name' | 'summary' | 'version'> {
  /** Where its items lie, and what one is. */
  readonly items: ItemFile<Item>;
  /** The question that an item is. */
  readonly ask: (item: Item) => Question;
}

/**
 * A task of questions, as lm-evaluation-harness has `multiple_choice`: the likeliest answer is the model's. A space sets
 * answers off from their context.
 *
 * acc: share of questions answered right. acc_norm: where log-probabilities are divided by the characters of each
 * answer; acc_bytes: by its UTF-8 bytes. Of equals, the first. Running it throws `BAD_TEXT` for an answer without a token.
 *
 *     const mine = choices({
 *       ...{ name: 'mine', summary: 'questions of mine', version: 1 },
 *       items: { file: 'mine.jsonl', item: z.object({ q: z.string(), a: z.array(z.string()), gold: z.int() }) },
 *       ask: ({ q, a, gold }) => ({ context: `Question: ${q}\nAnswer:`, choices: a, gold }),
 *     });
 *     await evaluate(engine, [mine], { data: 'folder' });
 */
export const choices = <Item>({ ask, ...task }: Choices<Item>): Task<Item, NoOptions> =>
  defineTask<Item>({
    ...task,
    run: (engine, _, run) => answer(engine, run.items.map(ask), run),
  });

async function answer(
  engine: Engine,
  questions: readonly Question[],
  run: TaskRun,
): Promise<TaskResult> {
  const right: Record<'acc' | 'acc_norm' | 'acc_bytes', number[]> = {
    ...{ acc: [], acc_norm: [], acc_bytes: [] },
  };
  let shortened = 0;
  using likelihoods = new Likelihoods(engine, run);
  for (const [i, { context, choices, gold }] of questions.entries()) {
    const found: Likelihood[] = [];
    for (const choice of choices) found.push(await likelihoods.of(context, ` ${choice}`));
    const best = (length: (choice: string) => number): number => {
      const scores = found.map(({ logprob }, i) => logprob / length(choices[i]));
      return scores.indexOf(Math.max(...scores));
    };
    right.acc.push(Number(best(() => 1) === gold));
    right.acc_norm.push(Number(best((choice) => [...choice].length) === gold));
    right.acc_bytes.push(
      Number(best((choice) => new TextEncoder().encode(choice).length) === gold),
    );
    if (found.some((one) => one.shortened)) shortened++;
    run.onProgress((i + 1) / questions.length);
  }
  return {
    metrics: Object.assign({}, ...Object.entries(right).map((one) => meanOf(...one))) as Record<
      string,
      number
    >,
    n: questions.length,
    ...(shortened > 0 && { shortened }),
  };
}

import type { Engine } from '../engine/engine.ts';
import { EngineError } from '../errors.ts';
import { openFolder } from '../loaders/fs.ts';
import { readTexts } from '../texts.ts';
import type { Folder } from '../source.ts';
import {
  evaluate as evaluateCore,
  type EvaluateInput as CoreInput,
  type EvaluateResult,
} from './evaluate.ts';
import type { NoOptions, TaskOptions, ValuesOf } from './options.ts';
import type { AnyItem, Task } from './task.ts';
import type { KnownOptions } from './tasks/index.ts';

/** What to score, from this machine's files too. */
export interface EvaluateInput extends Omit<CoreInput, 'data'> {
  /** Text files, as `text`; of a folder, its .txt files. */
  readonly files?: readonly string[];
  /** The folder of items' files, or its path. */
  readonly data?: string | Folder;
}

/** What to score, and options of the tasks that are listed (`tasks`). */
export type EvaluateOptions = EvaluateInput & KnownOptions;

/** What lies in files, read: the texts, and the folder of items opened. Throws `BAD_REQUEST`, `FILE_NOT_FOUND`, `BAD_TEXT`. */
export async function readInputs({
  text,
  files,
  data,
}: Pick<EvaluateInput, 'text' | 'files' | 'data'>): Promise<Pick<CoreInput, 'text' | 'data'>> {
  if (files && text !== undefined)
    throw new EngineError(
      'BAD_REQUEST',
      '`files` and `text` are given, expected at most one: `text` is what is scored, not where it lies',
    );
  return {
    ...(text !== undefined && { text }),
    ...(files && { text: await readTexts(files) }),
    ...(data !== undefined && { data: typeof data === 'string' ? await openFolder(data) : data }),
  };
}

/**
 * Run tasks, by name or your own, as `evaluate` of the core does. Throws as that does, and `FILE_NOT_FOUND`, `BAD_TEXT`.
 *
 *     const { results } = await evaluate(engine, ['perplexity'], { files: ['book.txt'], limit: 1000 });
 *     await evaluate(engine, ['piqa', 'lambada_openai'], { data: 'eval' });
 */
export async function evaluate<O extends TaskOptions = NoOptions>(
  engine: Engine,
  tasks: readonly (string | Task<AnyItem, O>)[],
  options: EvaluateOptions & NoInfer<ValuesOf<O>> = {},
): Promise<EvaluateResult> {
  const { text, files, data, ...others }: EvaluateOptions = options;
  const inputs = await readInputs({ text, files, data } as EvaluateInput);
  return await evaluateCore(engine, tasks, { ...others, ...inputs } as never);
}

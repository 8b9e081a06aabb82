import type { Engine } from '../engine/engine.ts';
import { EngineError } from '../errors.ts';
import type { TaskRun } from './task.ts';

/**
 * Ids of the texts of a run, one text after another, without a BOS: whole texts, until there are as many as
 * `limit` asks to score. Throws `BAD_TEXT`.
 */
export function textIds(
  task: string,
  engine: Engine,
  { texts, limit }: Pick<TaskRun, 'texts' | 'limit'>,
): Int32Array {
  const ids: number[] = [];
  for (const text of texts) {
    if (limit !== undefined && ids.length > limit) break;
    for (const id of engine.tokenizer.encode(text, { special: false })) ids.push(id);
  }
  if (ids.length >= 2) return Int32Array.from(ids);
  throw new EngineError(
    'BAD_TEXT',
    `${task}: the text has ${ids.length} tokens, expected at least 2: one to begin with and one to score`,
  );
}

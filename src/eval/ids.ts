import type { Engine } from '../engine/engine.ts';
import { EngineError, expectWhole } from '../errors.ts';
import type { TaskOptions } from './task.ts';

/**
 * Ids of the texts of a run, one text after another, without a BOS: whole texts, until there are as many as
 * `limit` asks to score. Throws `BAD_REQUEST`, `BAD_TEXT`.
 */
export function textIds(
  task: string,
  engine: Engine,
  { text, limit }: Pick<TaskOptions, 'text' | 'limit'>,
): Int32Array {
  if (text === undefined)
    throw new EngineError('BAD_REQUEST', `${task}: no text is given; add \`text\``);
  if (limit !== undefined) expectWhole('limit', limit, 1);
  const ids: number[] = [];
  for (const one of typeof text === 'string' ? [text] : text) {
    if (limit !== undefined && ids.length > limit) break;
    for (const id of engine.tokenizer.encode(one, { special: false })) ids.push(id);
  }
  if (ids.length >= 2) return Int32Array.from(ids);
  throw new EngineError(
    'BAD_TEXT',
    `${task}: the text has ${ids.length} tokens, expected at least 2: one to begin with and one to score`,
  );
}

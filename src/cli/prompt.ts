import type { Prompt } from '../engine/generate.ts';
import { EngineError } from '../errors.ts';
import type { promptFlags, Values } from './flags.ts';
import { type Io, readAll } from './io.ts';

/** Text or ids, whichever was given. Throws `BAD_REQUEST`, `BAD_TEXT`. */
export async function readPrompt(
  { prompt, ids }: Values<typeof promptFlags>,
  io: Io,
): Promise<Prompt | undefined> {
  if (prompt !== undefined && ids)
    throw new EngineError(
      'BAD_REQUEST',
      'prompt: both text and ids are given, expected either -p TEXT or --ids 5,17,9',
    );
  return prompt === '-' ? await readAll(io.stdin) : (prompt ?? ids);
}

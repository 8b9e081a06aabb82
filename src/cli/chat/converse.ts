import { EngineError } from '../../errors.ts';
import { readText } from '../../texts.ts';
import type { Outcome, Request } from '../command.ts';
import { methodFlags, modelFlags } from '../flags.ts';
import { note } from '../io.ts';
import { noteDefaults, openEngine } from '../open.ts';
import { readPrompt } from '../prompt.ts';
import { chatFlags } from '../sampling-flags.ts';
import { openHistory } from './history.ts';
import { pipedLines } from './lines.ts';
import { stream, summary, takeTurns } from './talk.ts';
import { terminalLines } from './terminal.ts';

/** Of every command that talks. */
export const talkFlags = { ...chatFlags, ...modelFlags, ...methodFlags };

/** One turn, or turns as long as someone types. Throws what `Engine.open` and `chat.send` throw. */
export async function converse({
  model,
  flags,
  json,
  io,
}: Request<typeof talkFlags>): Promise<Outcome> {
  const { prompt, system, chatTemplate: file, ...options } = flags;
  if (json && prompt === undefined)
    throw new EngineError(
      'BAD_REQUEST',
      '--json is given without -p TEXT, expected the one turn whose result it prints; add -p',
    );
  const template = file === undefined ? {} : { template: await readText(file), templateName: file };
  const said = await readPrompt({ ...(prompt !== undefined && { prompt }) }, io);
  await using engine = await openEngine(model!, options, io);
  noteDefaults(engine, io);
  using talk = engine.chat({ ...(system !== undefined && { system }), ...template });
  if (typeof said === 'string') {
    const reply = talk.send(said, { ...options, signal: io.signal });
    if (json) return { result: await reply.result, text: '' };
    note(io, summary(await stream(reply, io), talk));
    return { result: {}, text: '' };
  }
  const live = Boolean(io.stdin.isTTY && io.stdout.isTTY);
  using lines = live ? terminalLines(io, openHistory(io.env)) : pipedLines(io);
  await takeTurns(lines, { io, chat: talk, model: engine.model, live, options });
  return { result: {}, text: '' };
}

import type { Chat, ChatResult } from '../../engine/chat.ts';
import type { GenerateOptions } from '../../engine/generate.ts';
import type { Generation } from '../../engine/generation.ts';
import { EngineError } from '../../errors.ts';
import { type Io, note, write } from '../io.ts';
import { percent, rate } from '../layout.ts';
import { inFlags } from '../library-names.ts';
import { dim } from './dim.ts';
import { type Lines, nextMessage } from './lines.ts';
import { room } from './room.ts';
import { findCommand } from './slash.ts';

/** A conversation on a command line. */
export interface Talk {
  readonly io: Io;
  readonly chat: Chat;
  /** The model's name, for files that conversations are saved in. */
  readonly model: string;
  /** A person is there to read what went wrong and to go on. */
  readonly live: boolean;
  /** Let a reply stream to stdout, and say on stderr what it took. */
  readonly reply: (
    ask: (options: GenerateOptions) => Generation<ChatResult>,
  ) => Promise<ChatResult>;
  /** A remark, on stderr. */
  readonly say: (text: string) => void;
}

/** Take turns until the lines end or a command says so. */
export async function takeTurns(
  lines: Lines,
  setup: Pick<Talk, 'io' | 'chat' | 'model' | 'live'> & { readonly options: GenerateOptions },
): Promise<void> {
  const { io, chat, live, options } = setup;
  const talk: Talk = {
    ...setup,
    say: (text) => note(io, dim(io, text)),
    reply: (ask) =>
      lines.during(async (signal) => {
        const dropped = chat.stats.droppedMessages;
        const result = await stream(ask({ ...options, signal }), io);
        if (result.droppedMessages > dropped) talk.say(forgetting(result, chat));
        talk.say(summary(result, chat));
        return result;
      }),
  };
  for (;;) {
    const message = await nextMessage(lines);
    if (message === undefined) return;
    if (message.trim() === '') continue;
    try {
      if (message.startsWith('/') && !message.startsWith('//')) {
        const { command, argument } = findCommand(message);
        if ((await command.run(talk, argument)) === 'leave') return;
      } else await talk.reply((o) => chat.send(message.replace(/^\/\//, '/'), o));
    } catch (error) {
      if (!live || !(error instanceof EngineError) || error.code === 'ABORTED') throw error;
      note(io, `error [${error.code}]: ${inFlags(error.message)}`);
    }
    if (io.signal.aborted) return;
  }
}

/** Text as it becomes certain, and a new line after it. */
export async function stream(reply: Generation<ChatResult>, io: Io): Promise<ChatResult> {
  let begun = false;
  try {
    for await (const { text } of reply) {
      if (!text) continue;
      begun = true;
      await write(io.stdout, text);
    }
  } catch (error) {
    if (begun) await write(io.stdout, '\n');
    throw error;
  }
  await write(io.stdout, '\n');
  return reply.result;
}

const forgetting = ({ droppedMessages }: ChatResult, { stats }: Chat): string =>
  `the conversation outgrew the context of ${stats.context} tokens: its first ${droppedMessages} messages are no longer read`;

/** What a reply took, in a line. */
export function summary(result: ChatResult, { stats }: Chat): string {
  const { ids, finishReason, timing, density } = result;
  const sparse = density.neurons < 1 || density.heads < 1;
  return [
    `${ids.length} tokens${finishReason === 'stop' ? '' : ` (${ending[finishReason]})`}`,
    `${rate(timing.decodeTokensPerSecond)} tokens/s`,
    ...(sparse
      ? [`neurons ${percent(density.neurons)}, heads ${percent(density.heads)}`]
      : ['dense']),
    room(stats),
  ].join(' · ');
}

const ending = { length: 'cut off', abort: 'stopped' };

import { writeFile } from 'node:fs/promises';
import * as z from 'zod';
import { EngineError } from '../../errors.ts';
import { facts, rate } from '../layout.ts';
import { readText } from '../../texts.ts';
import { room } from './room.ts';
import type { Talk } from './talk.ts';

/** What a line that begins with a slash asks for. */
interface SlashCommand {
  /** Its name, and others it answers to. */
  readonly names: readonly [string, ...string[]];
  readonly takes?: string;
  readonly help: string;
  readonly run: (talk: Talk, argument: string) => unknown;
}

const commands: readonly SlashCommand[] = [
  {
    names: ['/help'],
    help: 'print this',
    run({ say }) {
      const rows = commands.map(({ names, takes, help }) => {
        const name = [names.join(', '), takes].filter(Boolean).join(' ');
        return [name, help] as const;
      });
      say(
        `${facts(rows)}A backslash at the end of a line goes on in the next; // begins a message with a slash.\nCtrl-C stops a reply, twice at the prompt leaves.`,
      );
    },
  },
  {
    names: ['/retry', '/regenerate'],
    help: 'take the latest reply back and ask for another',
    run: ({ chat, reply }) => reply((options) => chat.retry(options)),
  },
  {
    names: ['/undo'],
    help: 'take the latest turn back, question and reply',
    run({ chat, say }) {
      chat.undo();
      say(`${count(chat.messages.length)} left`);
    },
  },
  {
    names: ['/reset'],
    help: 'forget the conversation, keep the system message',
    run({ chat, say }) {
      chat.reset();
      say('a new conversation');
    },
  },
  {
    names: ['/system'],
    takes: 'TEXT',
    help: 'tell the model something before the conversation; without TEXT, what it is told',
    run({ chat, say }, text) {
      if (text) chat.system = text;
      say(chat.system === undefined ? 'no system message' : `system: ${chat.system}`);
    },
  },
  {
    names: ['/save'],
    takes: 'FILE',
    help: 'write the conversation to a file, as JSON',
    async run({ chat, model, say }, file) {
      expectFile('/save', file);
      const { messages } = chat;
      try {
        await writeFile(file, `${JSON.stringify({ model, messages }, null, 2)}\n`);
      } catch (cause) {
        throw new EngineError(
          'BAD_REQUEST',
          `${file}: cannot be written (${(cause as Error).message}); expected a place for a file; choose another`,
          { cause },
        );
      }
      say(`${count(messages.length)} in ${file}`);
    },
  },
  {
    names: ['/load'],
    takes: 'FILE',
    help: 'go on from a conversation that was saved',
    async run({ chat, say }, file) {
      expectFile('/load', file);
      chat.load(await readConversation(file));
      say(`${count(chat.messages.length)} from ${file}`);
    },
  },
  {
    names: ['/stats'],
    help: 'what the conversation took so far',
    run({ chat, say }) {
      const { stats } = chat;
      const { replies, generatedTokens, decodeSeconds, prefilledTokens, reusedTokens } = stats;
      const speed = decodeSeconds > 0 ? (generatedTokens - replies) / decodeSeconds : 0;
      const text = facts([
        ['messages', `${chat.messages.length}, of which ${stats.droppedMessages} are not read`],
        [
          'replies',
          `${replies} of ${generatedTokens} tokens, ${rate(Math.max(0, speed))} tokens/s`,
        ],
        ['prompts', `${prefilledTokens} tokens prefilled, ${reusedTokens} reused`],
        ['cache', room(stats)],
      ]);
      say(text.trimEnd());
    },
  },
  { names: ['/exit', '/quit'], help: 'leave', run: () => 'leave' },
];

/** The command of a line. Throws `BAD_REQUEST` where there is none. */
export function findCommand(line: string): { command: SlashCommand; argument: string } {
  const [, name = '', argument = ''] = /^(\S+)\s*([^]*)$/.exec(line) ?? [];
  const command = commands.find(({ names }) => names.includes(name));
  if (command) return { command, argument: argument.trim() };
  throw new EngineError(
    'BAD_REQUEST',
    `${name}: there is no such command, expected ${commands.map(({ names }) => names[0]).join(', ')}; begin a message with // for a slash`,
  );
}

const count = (messages: number): string => `${messages} message${messages === 1 ? '' : 's'}`;

function expectFile(command: string, file: string): void {
  if (file === '')
    throw new EngineError(
      'BAD_REQUEST',
      `${command}: no file is named, expected ${command} FILE; add it`,
    );
}

const messages = z.array(z.looseObject({ role: z.string(), content: z.string() }));
const conversation = z.union([
  z.object({ messages }).transform((saved) => saved.messages),
  messages,
]);

async function readConversation(file: string): Promise<z.infer<typeof messages>> {
  const text = await readText(file);
  try {
    return conversation.parse(JSON.parse(text));
  } catch (cause) {
    throw new EngineError(
      'BAD_REQUEST',
      `${file}: is no conversation; expected JSON as /save writes it, { "messages": [{ "role", "content" }, …] }; name another`,
      { cause },
    );
  }
}

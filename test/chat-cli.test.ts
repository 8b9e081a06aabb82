import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, describe, expect, test } from 'vitest';
import { nextMessage } from '../src/cli/chat/lines.ts';
import { run } from '../src/cli/run.ts';
import type { ChatResult } from '../src/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'dejavu-chat-'));
afterAll(() => rmSync(folder, { recursive: true }));
const template = join(folder, 'chat.jinja');
writeFileSync(
  template,
  `{% for m in messages %}{{ m.role }}: {{ m.content }}
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}`,
);
const saved = join(folder, 'saved.json');

async function chat(
  argv: readonly string[],
  typed = '',
  env: Record<string, string> = {},
): Promise<{ status: number; stdout: string; stderr: string }> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const [out, err] = [text(stdout), text(stderr)];
  const own = ['--max-tokens', '6', '--temperature', '0', '--backend', 'reference'];
  const status = await run(['chat', 'books-6m', ...own, ...argv], {
    // Cut within a character, as pipes do.
    stdin: Readable.from([Buffer.from(typed).subarray(0, 7), Buffer.from(typed).subarray(7)]),
    stdout,
    stderr,
    env,
    signal: new AbortController().signal,
  });
  stdout.end();
  stderr.end();
  return { status, stdout: await out, stderr: await err };
}

const asked = ['--chat-template', template];

describe('chat', () => {
  test('one turn, as JSON: the shape of generate, and the messages', async () => {
    const argv = [...asked, '--system', 'A tale.', '-p', 'Who?', '--json'];
    const { status, stdout } = await chat(argv);
    const result = JSON.parse(stdout) as ChatResult;
    expect(status).toBe(0);
    expect(result).toMatchObject({
      ...{ model: 'books-6m', reusedTokens: 0, droppedMessages: 0 },
      messages: [
        { role: 'system', content: 'A tale.' },
        { role: 'user', content: 'Who?' },
        { role: 'assistant', content: result.text },
      ],
    });
    expect(result.ids).toHaveLength(6);
    const plain = await chat(argv.slice(0, -1));
    expect(plain).toMatchObject({ status: 0, stdout: `${result.text}\n` });
    expect(plain.stderr).toMatch(/6 tokens \(cut off\) · [\d.]+ tokens\/s · neurons .* of context/);
  });

  test('a bias, from a variable too, changes what is said', async () => {
    const argv = [...asked, '-p', 'Who?', '--json'];
    const ids = async (more: string[], env = {}): Promise<readonly number[]> =>
      (JSON.parse((await chat([...argv, ...more], '', env)).stdout) as ChatResult).ids;
    const [first] = await ids([]);
    expect(await ids(['-l', `${first}-inf`])).not.toContain(first);
    expect(await ids([], { DEJAVU_LOGIT_BIAS: `17+60,${first}-inf` })).toEqual(Array(6).fill(17));
    expect(await ids(['--logit-bias', '17+60', '--repeat-penalty', '1e6'])).not.toEqual(
      Array(6).fill(17),
    );
  });

  test('each line is a turn, and stdout has the replies alone', async () => {
    const { status, stdout, stderr } = await chat(
      asked,
      `Où est-il, ça?\n\nWhat then, \\\nand why?\n/save ${saved}\n/stats\n`,
    );
    expect(status, stderr).toBe(0);
    const { messages } = JSON.parse(readFileSync(saved, 'utf8')) as ChatResult;
    expect(messages.filter(({ role }) => role === 'user').map((m) => m.content)).toEqual([
      'Où est-il, ça?',
      'What then, \nand why?',
    ]);
    const replies = messages.filter(({ role }) => role === 'assistant');
    expect(stdout).toBe(replies.map(({ content }) => `${content as string}\n`).join(''));
    expect(stderr).toMatch(/replies +2 of 12 tokens/);
    expect(stderr).not.toContain('\x1b');
  });

  test('commands change the conversation', async () => {
    writeFileSync(saved, JSON.stringify([{ role: 'user', content: 'Hm' }]));
    const typed = `Who?\n/retry\n/undo\n/load ${saved}\n/system A tale.\n//slash\n/save ${saved}\n`;
    const { status, stderr } = await chat(asked, `${typed}/exit\nnever read\n`);
    expect(status, stderr).toBe(0);
    const { messages } = JSON.parse(readFileSync(saved, 'utf8')) as ChatResult;
    expect(messages.map(({ content }) => content).slice(0, 3)).toEqual(['A tale.', 'Hm', '/slash']);
    expect(messages).toHaveLength(4);
  });

  test.each<[string, string[], string, string, number]>([
    ['no template', [], '', 'NO_CHAT_TEMPLATE', 1],
    ['JSON without a turn', [...asked, '--json'], '', 'BAD_REQUEST', 2],
    ['an unknown command', asked, '/nonsense\n', 'BAD_REQUEST', 2],
    ['nothing to take back', asked, '/undo\n', 'BAD_REQUEST', 2],
    ['no conversation', asked, `/load ${template}\n`, 'BAD_REQUEST', 2],
    ['no such template', ['--chat-template', '/nowhere'], '', 'FILE_NOT_FOUND', 1],
    ['no bias', [...asked, '-l', '5'], '', 'BAD_REQUEST', 2],
    ['an endless bias', [...asked, '-l', '5+inf'], '', 'BAD_REQUEST', 2],
    ['a bias beyond the vocabulary', [...asked, '-l', '5000+1', '-p', 'a'], '', 'BAD_REQUEST', 2],
  ])('%s is refused', async (_, argv, typed, code, status) => {
    const ran = await chat(argv, typed);
    expect(ran.status).toBe(status);
    expect(ran.stderr).toContain(`error [${code}]`);
  });
});

test('a message goes on while its lines end in a backslash', async () => {
  const read = async (...given: string[]): Promise<unknown[]> => {
    const asked: boolean[] = [];
    const message = await nextMessage({
      next: (more) => Promise.resolve((asked.push(more), given.shift())),
      during: (work) => work(new AbortController().signal),
      [Symbol.dispose]: () => undefined,
    });
    return [message, ...asked];
  };
  expect(await read('a\\', 'b\\', 'c')).toEqual(['a\nb\nc', false, true, true]);
  expect(await read('a\\')).toEqual(['a\n', false, true]);
  expect(await read()).toEqual([undefined, false]);
});

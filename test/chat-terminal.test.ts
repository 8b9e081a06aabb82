/**
 * `dejavu chat` as a person meets it: at a terminal, which `script` of util-linux makes. Every step waits
 * for what is on the screen.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, onTestFailed, onTestFinished, test } from 'vitest';
import { isBuilt, program } from './support/built.ts';

const { stdout: version } = spawnSync('script', ['--version'], { encoding: 'utf8' });
const hasTerminal = (version as string | null)?.includes('util-linux') ?? false;

const folder = mkdtempSync(join(tmpdir(), 'dejavu-terminal-'));
afterAll(() => rmSync(folder, { recursive: true }));
const template = join(folder, 'chat.jinja');
writeFileSync(template, '{% for m in messages %}{{ m.content }}\n{% endfor %}');

/** What moves the cursor or dims text, and one whose end has yet to come. */
const sequences = /\x1b(\[[0-9;?]*([A-Za-z]|$)|$)/g;

/** A shell at a terminal, and all it showed. */
class Terminal {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<unknown[]>;
  #shown = '';
  #screen = '';
  /** What of the screen was waited for. */
  #seen = 0;
  #heard: () => void = () => undefined;

  constructor(command: string) {
    const env = { ...process.env, HOME: folder, XDG_STATE_HOME: folder };
    this.#child = spawn('script', ['-qefc', command, '/dev/null'], { env });
    this.#ended = once(this.#child, 'close');
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#shown += text;
      this.#screen = this.#shown.replaceAll(sequences, '');
      this.#heard();
    });
    onTestFinished(() => void this.#child.kill());
    onTestFailed(() => console.log(this.#screen));
  }

  /** Until the screen shows it, after what was shown before; returns what came until then. */
  async shows(what: RegExp): Promise<string> {
    for (;;) {
      const rest = this.#screen.slice(this.#seen);
      const found = what.exec(rest);
      if (found) {
        this.#seen += found.index + found[0].length;
        return rest.slice(0, found.index);
      }
      const more = new Promise<boolean>((resolve) => (this.#heard = () => resolve(true)));
      if (!(await Promise.race([more, this.#ended.then(() => false)])))
        throw new Error(`the terminal closed; ${what} is not in ${JSON.stringify(rest)}`);
    }
  }

  type(keys: string): void {
    this.#child.stdin.write(keys);
  }

  async end(): Promise<void> {
    await this.#ended;
  }
}

/** A conversation, the terminal's settings before and after it. */
function chat(...flags: string[]): { terminal: Terminal; settings: () => [string, string] } {
  const [before, after] = [join(folder, 'before'), join(folder, 'after')];
  const argv = [process.execPath, program, 'chat', 'books-6m', '--chat-template', template];
  const line = [...argv, '--temperature', '0', ...flags].map((word) => `'${word}'`).join(' ');
  const terminal = new Terminal(
    `stty rows 24 cols 80; stty -a >'${before}'; ${line}; echo "status $?"; stty -a >'${after}'`,
  );
  return {
    terminal,
    settings: () => [readFileSync(before, 'utf8'), readFileSync(after, 'utf8')],
  };
}

const prompt = /> $/;
const controlC = '\x03';

test.skipIf(!isBuilt || !hasTerminal)(
  'a conversation at a terminal (skipped where dist/ is older than src/, or without script of util-linux)',
  async () => {
    const { terminal, settings } = chat('--max-tokens', '6');
    await terminal.shows(prompt);
    terminal.type('Who is it?\r');
    await terminal.shows(/Who is it\?\r+\n/);
    const reply = await terminal.shows(/6 tokens \(cut off\) · .* tokens of context\r\n/);
    expect(reply.trim()).not.toBe('');
    await terminal.shows(prompt);
    terminal.type('/help\r');
    await terminal.shows(/\/retry, \/regenerate/);
    await terminal.shows(prompt);
    terminal.type('/nonsense\r');
    await terminal.shows(/error \[BAD_REQUEST\]: \/nonsense: there is no such command/);
    await terminal.shows(prompt);
    // The line that was typed first, by two arrows up, is asked again.
    terminal.type('/undo\r');
    await terminal.shows(/0 messages left\r\n/);
    await terminal.shows(prompt);
    terminal.type('\x1b[A\x1b[A\x1b[A\x1b[A\r');
    const again = await terminal.shows(/6 tokens \(cut off\)/);
    expect(again).toContain(reply.trim());
    await terminal.shows(prompt);
    terminal.type('/exit\r');
    await terminal.shows(/status 0\r\n/);
    await terminal.end();
    const [before, after] = settings();
    expect(before).toContain('icanon');
    expect(after).toBe(before);
  },
);

test.skipIf(!isBuilt || !hasTerminal)(
  'Ctrl-C stops a reply, then empties the line, then leaves (skipped likewise)',
  async () => {
    // Slow enough that a reply is under way for seconds.
    const { terminal, settings } = chat('--backend', 'reference');
    await terminal.shows(prompt);
    terminal.type('Who is it?\r');
    await terminal.shows(/Who is it\?\s+\S/);
    terminal.type(controlC);
    const rest = await terminal.shows(/\d+ tokens \(stopped\) · /);
    expect(rest).not.toContain('error');
    await terminal.shows(prompt);
    terminal.type('/stats\r');
    await terminal.shows(/replies +1 of \d+ tokens/);
    await terminal.shows(prompt);
    terminal.type('half a line');
    await terminal.shows(/half a line/);
    terminal.type(controlC);
    await terminal.shows(/Ctrl-C again leaves/);
    await terminal.shows(prompt);
    terminal.type(controlC);
    await terminal.shows(/error \[ABORTED\]: interrupted\r\nstatus 130\r\n/);
    await terminal.end();
    const [before, after] = settings();
    expect(after).toBe(before);
  },
);

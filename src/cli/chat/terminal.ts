import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { EngineError } from '../../errors.ts';
import { type Io, note } from '../io.ts';
import { dim } from './dim.ts';
import type { History } from './history.ts';
import type { Lines } from './lines.ts';

/**
 * Lines typed at a terminal, edited and remembered. Ctrl-C stops a reply; at the prompt it empties the
 * line, and the second one in a row ends the program. Lines typed during a reply are taken after it.
 */
export function terminalLines(io: Io, history: History): Lines {
  const screen = new Screen(io.stdout);
  const input = createInterface({
    input: io.stdin,
    output: screen,
    terminal: true,
    history: [...history.lines],
    historySize: history.size,
    removeHistoryDuplicates: true,
  });
  const ahead: string[] = [];
  let closed = false;
  let warned = false;
  let reply: AbortController | undefined;
  let waiting: { resolve(line?: string): void; reject(error: Error): void } | undefined;
  const interrupted = (): void => {
    if (waiting) io.stdout.write('\n');
    waiting?.reject(new EngineError('ABORTED', 'interrupted'));
  };
  const ended = (): void => {
    closed = true;
    if (waiting) io.stdout.write('\n');
    waiting?.resolve();
  };
  input.on('history', (lines) => history.save(lines));
  input.on('close', ended);
  input.on('line', (line) => {
    warned = false;
    if (waiting) waiting.resolve(line);
    else ahead.push(line);
  });
  input.on('SIGINT', () => {
    if (reply) return reply.abort();
    if (warned && input.line === '') return interrupted();
    warned = true;
    input.write(null, { ctrl: true, name: 'e' });
    input.write(null, { ctrl: true, name: 'u' });
    io.stdout.write('\n');
    note(io, dim(io, 'Ctrl-C again leaves, so does /exit'));
    input.prompt();
  });
  io.signal.addEventListener('abort', interrupted, { once: true });
  return {
    async next(more) {
      screen.shown = true;
      input.setPrompt(more ? '… ' : '> ');
      const early = ahead.shift();
      if (early !== undefined) {
        io.stdout.write(`${input.getPrompt()}${early}\n`);
        screen.shown = false;
        return early;
      }
      if (closed) return undefined;
      input.prompt(true);
      try {
        return await new Promise((resolve, reject) => (waiting = { resolve, reject }));
      } finally {
        waiting = undefined;
        screen.shown = false;
      }
    },
    async during(work) {
      reply = new AbortController();
      try {
        return await work(AbortSignal.any([reply.signal, io.signal]));
      } finally {
        reply = undefined;
      }
    },
    [Symbol.dispose]: () => {
      io.signal.removeEventListener('abort', interrupted);
      input.close();
    },
  };
}

/** The terminal as line editing sees it: what it draws is shown at the prompt alone. */
class Screen extends Writable {
  readonly isTTY = true;
  shown = false;
  readonly #target: Io['stdout'];

  constructor(target: Io['stdout']) {
    super({ decodeStrings: false });
    this.#target = target;
    target.on('resize', () => this.emit('resize'));
  }

  get columns(): number | undefined {
    return this.#target.columns;
  }

  override _write(chunk: string | Uint8Array, _: string, done: () => void): void {
    if (this.shown) this.#target.write(chunk, () => done());
    else done();
  }
}

import { EngineError } from '../../errors.ts';
import { type Io } from '../io.ts';
import { decodeText } from '../../texts.ts';

/** Where a person's lines come from. */
export interface Lines extends Disposable {
  /** The next line, of a message that has begun where `more`; undefined where no line follows. */
  next(more: boolean): Promise<string | undefined>;
  /** Do something that Ctrl-C stops, and that keeps the screen to itself. */
  during<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T>;
}

/** The next message: a line, and those after it while they end in a backslash. */
export async function nextMessage(lines: Lines): Promise<string | undefined> {
  let message = await lines.next(false);
  while (message?.endsWith('\\')) {
    const line = await lines.next(true);
    message = `${message.slice(0, -1)}\n${line ?? ''}`;
    if (line === undefined) break;
  }
  return message;
}

/** Lines of a file or of another program. Ctrl-C ends everything. */
export function pipedLines({ stdin, signal }: Io): Lines {
  const all = linesOf(stdin);
  const interrupted = new Promise<never>((_, reject) => {
    const stop = (): void => reject(new EngineError('ABORTED', 'interrupted'));
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  interrupted.catch(() => undefined);
  return {
    next: async () => {
      const line = await Promise.race([all.next(), interrupted]);
      return line.done ? undefined : line.value;
    },
    during: (work) => work(signal),
    [Symbol.dispose]: () => undefined,
  };
}

const newline = 0x0a;

async function* linesOf(stdin: AsyncIterable<Uint8Array>): AsyncGenerator<string, void> {
  const text = (bytes: Uint8Array): string => decodeText(bytes, 'stdin').replace(/\r$/, '');
  let rest = new Uint8Array();
  for await (const chunk of stdin) {
    rest = Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf(newline); end >= 0; end = rest.indexOf(newline)) {
      yield text(rest.subarray(0, end));
      rest = rest.subarray(end + 1);
    }
  }
  if (rest.length) yield text(rest);
}

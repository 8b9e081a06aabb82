import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Lines typed before, newest first. Keeping them is a courtesy: whatever fails is passed over. */
export interface History {
  readonly lines: readonly string[];
  /** Most lines that are kept. */
  readonly size: number;
  save(lines: readonly string[]): void;
}

const size = 1000;

/** In the user's state folder: `$XDG_STATE_HOME/dejavu/chat-history`, oldest first, one a line. */
export function openHistory(env: Readonly<Record<string, string | undefined>>): History {
  const state = env.XDG_STATE_HOME || (env.HOME && join(env.HOME, '.local/state'));
  const file = state && join(state, 'dejavu', 'chat-history');
  if (!file) return { lines: [], size, save: () => undefined };
  return {
    lines: read(file),
    size,
    save(lines) {
      const text = lines
        .toReversed()
        .map((line) => `${line}\n`)
        .join('');
      try {
        mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
        writeFileSync(file, text, { mode: 0o600 });
      } catch {
        // A read-only home is no reason not to talk.
      }
    },
  };
}

function read(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n').filter(Boolean).reverse().slice(0, size);
  } catch {
    return [];
  }
}

import type { Io } from '../io.ts';

/** A remark that should not be mistaken for a reply: pale on a terminal, unless NO_COLOR is set. */
export const dim = ({ stderr, env }: Io, text: string): string =>
  stderr.isTTY && !env.NO_COLOR ? `\x1b[2m${text}\x1b[22m` : text;

import { tokenize, parse } from '@huggingface/jinja';
import { Fault } from './values.ts';

/** What the parser makes of a template. */
export interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** Parse a template as transformers' environment does: blocks are trimmed, lines before them stripped. */
export function parseTemplate(source: string): Node {
  const tokens = tokenize(source.replace(/\r\n?/g, '\n'), {
    lstrip_blocks: true,
    trim_blocks: true,
  });
  expectUnchained(tokens as Token[]);
  return parse(tokens) as unknown as Node;
}

interface Token {
  readonly type: string;
  readonly value: string;
}

/** `a < b < c` is both in Python; the parser takes it for `(a < b) < c`. */
function expectUnchained(tokens: readonly Token[]): void {
  // For each bracket that is open, whether its expression has a comparison already.
  let compared: boolean[] = [false];
  tokens.forEach(({ type, value }, i) => {
    if (type === 'StringLiteral' || type === 'Text' || type === 'Comment') return;
    if (type.startsWith('Open')) compared = [...compared, false];
    else if (type.startsWith('Close'))
      compared = compared.length > 1 ? compared.slice(0, -1) : [false];
    else if (
      type === 'Comma' ||
      type === 'Pipe' ||
      type === 'Colon' ||
      type === 'Equals' ||
      ['and', 'or', 'if', 'else', 'not'].includes(value)
    ) {
      // `not in` goes on with the comparison.
      if (value !== 'not' || tokens[i + 1]?.value !== 'in')
        compared = [...compared.slice(0, -1), false];
    } else if (type === 'ComparisonBinaryOperator' || value === 'in') {
      if (compared.at(-1) && !(value === 'in' && isLoop(tokens, i)))
        throw new Fault('a chain of comparisons');
      compared = [...compared.slice(0, -1), !(value === 'in' && isLoop(tokens, i))];
    }
  });
}

/** Whether this `in` is that of `for … in`. */
function isLoop(tokens: readonly Token[], at: number): boolean {
  for (let i = at - 1; i >= 0 && tokens[i].type !== 'OpenStatement'; i--)
    if (tokens[i].value === 'for' && tokens[i - 1]?.type === 'OpenStatement')
      return !tokens.slice(i + 1, at).some(({ value }) => value === 'in');
  return false;
}

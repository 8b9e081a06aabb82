import { describe, expect, test } from 'vitest';
import { list, oneOf, type Parser, real, share, tokensOrShare, whole, yesOrNo } from './values.ts';

const accepted: readonly [Parser<unknown>, string, unknown][] = [
  [share(), '0.3', 0.3],
  [share(), '30%', 0.3],
  [share(), ' 30 % ', 0.3],
  [share(), '100%', 1],
  [share(), '0', 0],
  [share(Infinity), '250%', 2.5],
  [tokensOrShare, '1024', 1024],
  [tokensOrShare, '20%', 0.2],
  [tokensOrShare, '0.2', 0.2],
  [tokensOrShare, '100%', 1 - Number.EPSILON],
  [whole(1), '007', 7],
  [whole(0), '1e3', 1000],
  [real(0), '.5', 0.5],
  [list(whole(0)), '5, 17,9', [5, 17, 9]],
  [oneOf(['a', 'b']), 'b', 'b'],
  [yesOrNo, 'TRUE', true],
  [yesOrNo, '0', false],
];

const refused: readonly [Parser<unknown>, string][] = [
  [share(), '1.1'],
  [share(), '101%'],
  [share(), '-1%'],
  [share(), '%'],
  [share(), ''],
  [tokensOrShare, '0'],
  [tokensOrShare, '0%'],
  [tokensOrShare, '101%'],
  [tokensOrShare, '1.5'],
  [tokensOrShare, '-4'],
  [tokensOrShare, 'some'],
  [whole(1), '-1'],
  [whole(1), '1.5'],
  [whole(1), ''],
  [whole(1), '3 apples'],
  [whole(1), '9007199254740993'],
  [whole(1, 4), '5'],
  [real(0), 'Infinity'],
  [real(0), 'NaN'],
  [list(whole(0)), '5,,9'],
  [oneOf(['a', 'b']), 'c'],
  [yesOrNo, 'maybe'],
];

describe('values', () => {
  test.each(accepted)('%# %j is %j', (parse, given, value) => {
    expect(parse(given, '--flag')).toEqual(value);
  });

  test.each(refused)('%# %j is refused, and the flag is named', (parse, given) => {
    expect(() => parse(given, '--flag')).toThrow(/^--flag is "/);
  });
});

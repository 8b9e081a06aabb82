import { EngineError } from '../errors.ts';

/** Turns what was typed into a value. `where` names the flag or variable. Throws `BAD_REQUEST`. */
export type Parser<T> = (text: string, where: string) => T;

function refuse(where: string, text: string, expected: string): never {
  throw new EngineError(
    'BAD_REQUEST',
    `${where} is ${JSON.stringify(text)}, expected ${expected}; correct it`,
  );
}

const number = (text: string): number => (/^[-+.\d]/.test(text.trim()) ? Number(text) : NaN);

export const text: Parser<string> = (given) => given;

export const someText: Parser<string> = (given, where) =>
  given === '' ? refuse(where, given, 'a text that is not empty') : given;

export const ending =
  (end: string): Parser<string> =>
  (given, where) =>
    given.endsWith(end) ? given : refuse(where, given, `a name of a file that ends in ${end}`);

export const whole =
  (least: number, most = Number.MAX_SAFE_INTEGER): Parser<number> =>
  (given, where) => {
    const value = number(given);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    const bound = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `${least} to ${most}`;
    return refuse(where, given, `a whole number ${bound}`);
  };

/** Tokens, in units of 1024 where a k follows: `4096` or `4k`. */
export const tokens: Parser<number> = (given, where) => {
  const thousands = /^(.*\d)k$/i.exec(given.trim());
  const value = number(thousands ? thousands[1] : given) * (thousands ? 1024 : 1);
  if (Number.isSafeInteger(value) && value >= 1) return value;
  return refuse(where, given, 'a whole number of tokens of at least 1, such as 4096 or 4k');
};

export const real =
  (least: number, most = Infinity): Parser<number> =>
  (given, where) => {
    const value = number(given);
    if (Number.isFinite(value) && value >= least && value <= most) return value;
    const bound = most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`;
    return refuse(where, given, `a number ${bound}`);
  };

/** A share: `0.3` or `30%`. */
export const share =
  (most = 1): Parser<number> =>
  (given, where) => {
    const percent = given.trim().endsWith('%');
    const value = number(percent ? given.trim().slice(0, -1) : given) / (percent ? 100 : 1);
    if (Number.isFinite(value) && value >= 0 && value <= most) return value;
    return refuse(where, given, 'a share such as 0.3 or 30%');
  };

/** Tokens, or a share of the context, which is below 1: `1024`, `0.2` or `20%`; all of it is the nearest. */
export const tokensOrShare: Parser<number> = (given, where) => {
  const percent = given.trim().endsWith('%');
  const value = number(percent ? given.trim().slice(0, -1) : given) / (percent ? 100 : 1);
  if (percent && value === 1) return 1 - Number.EPSILON;
  if (value > 0 && (value < 1 || (!percent && Number.isSafeInteger(value)))) return value;
  return refuse(where, given, 'a whole number of tokens, or a share of the context such as 20%');
};

export const oneOf =
  <const T extends string>(values: readonly T[]): Parser<T> =>
  (given, where) =>
    values.find((value) => value === given) ?? refuse(where, given, `one of ${values.join(', ')}`);

export const list =
  <T>(each: Parser<T>): Parser<T[]> =>
  (given, where) =>
    given.split(',').map((part) => each(part.trim(), where));

/** llama.cpp's way to write a logit bias: `15043+1.5`, `15043-inf`. */
export const bias: Parser<readonly [id: number, bias: number]> = (given, where) => {
  const [, id, sign, size] = /^\s*(\d+)\s*([+-])\s*(\S+)\s*$/.exec(given) ?? [];
  const value = size === 'inf' ? Infinity : number(size ?? '');
  const signed = sign === '-' ? -value : value;
  if (Number.isNaN(value) || value < 0 || signed === Infinity)
    return refuse(where, given, 'an id and a bias such as 15043+1, 15043-0.5 or 15043-inf');
  return [Number(id), signed];
};

/** Environment variables of flags that take no value. */
export const yesOrNo: Parser<boolean> = (given, where) => {
  if (['1', 'true', 'yes'].includes(given.toLowerCase())) return true;
  if (['0', 'false', 'no'].includes(given.toLowerCase())) return false;
  return refuse(where, given, '1 or 0');
};

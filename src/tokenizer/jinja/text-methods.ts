import { bind, expectInt, expectText } from './arguments.ts';
import { formatFields } from './format.ts';
import {
  type Arguments,
  characters,
  Fault,
  iterate,
  limited,
  times,
  Tuple,
  type Value,
} from './values.ts';

/** Python's white space, which is not quite JavaScript's. */
const space =
  '\\t\\n\\v\\f\\r\\x1c-\\x1f \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const [leadingSpace, trailingSpace] = [new RegExp(`^[${space}]+`), new RegExp(`[${space}]+$`)];
const someSpace = new RegExp(`[${space}]+`);

/** `strip` and its sides: white space, or any of the characters. */
export function strip(
  text: string,
  which: Value = null,
  sides: 'both' | 'left' | 'right' = 'both',
): string {
  if (which === null) {
    const left = sides === 'right' ? text : text.replace(leadingSpace, '');
    return sides === 'left' ? left : left.replace(trailingSpace, '');
  }
  const among = new Set(characters(expectText('strip', which)));
  const all = characters(text);
  let [from, to] = [0, all.length];
  if (sides !== 'right') while (from < to && among.has(all[from])) from++;
  if (sides !== 'left') while (to > from && among.has(all[to - 1])) to--;
  return all.slice(from, to).join('');
}

/** `str.capitalize` */
export const capitalize = (text: string): string => {
  const [first = '', ...rest] = characters(text);
  return titled(first) + rest.join('').toLowerCase();
};

/** A character at the beginning of a word: ǆ becomes ǅ, and ß Ss. */
const titled = (one: string): string => {
  const upper = one.toUpperCase();
  if (/^[ǄǇǊǱ]$/.test(upper)) return { Ǆ: 'ǅ', Ǉ: 'ǈ', Ǌ: 'ǋ', Ǳ: 'ǲ' }[upper]!;
  const [first = '', ...rest] = characters(upper);
  return first + rest.join('').toLowerCase();
};

/** `str.title`: each run of cased letters is a word. */
const title = (text: string): string => text.replace(/\p{Cased}+/gu, (word) => capitalize(word));

/** `str.splitlines` */
export const splitLines = (text: string, keepEnds = false): string[] => {
  const found =
    text.match(
      /[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]*(\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]|$)/g,
    ) ?? [];
  const lines = found.filter((line) => line !== '');
  return keepEnds
    ? lines
    : lines.map((line) => line.replace(/(\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])$/, ''));
};

function split(text: string, separator: Value, most: number, fromRight: boolean): string[] {
  if (separator !== null) {
    const by = expectText('split', separator);
    if (by === '') throw new Fault('split by an empty text');
    const parts = text.split(by);
    if (most < 0 || parts.length <= most + 1) return parts;
    if (!fromRight) return [...parts.slice(0, most), parts.slice(most).join(by)];
    const kept = parts.length - most;
    return [parts.slice(0, kept).join(by), ...parts.slice(kept)];
  }
  const parts: string[] = [];
  let rest = strip(text, null, fromRight ? 'right' : 'left');
  while (rest !== '') {
    const spaces = [...rest.matchAll(new RegExp(someSpace, 'g'))];
    const at = fromRight ? spaces.at(-1) : spaces[0];
    if (!at || parts.length === most) {
      parts.push(rest);
      break;
    }
    const [before, after] = [rest.slice(0, at.index), rest.slice(at.index + at[0].length)];
    parts.push(fromRight ? after : before);
    rest = fromRight ? before : after;
  }
  return fromRight ? parts.reverse() : parts;
}

/** Replaced from the left, at most so often; an empty text is between all characters. */
export function replace(text: string, old: string, by: string, count: number): string {
  const parts = old === '' ? ['', ...characters(text), ''] : text.split(old);
  const done = count < 0 ? parts.length - 1 : Math.min(count, parts.length - 1);
  return limited(
    parts.slice(0, done + 1).join(by) +
      parts
        .slice(done + 1)
        .map((part) => old + part)
        .join(''),
  );
}

/** Where in characters; below 0 where it is not. */
function find(
  text: string,
  [part, start = null, end = null]: readonly Value[],
  last: boolean,
): number {
  const all = characters(text);
  const bound = (value: Value, otherwise: number): number => {
    const at = value === null ? otherwise : expectInt('find', value);
    return Math.min(all.length, at < 0 ? Math.max(0, at + all.length) : at);
  };
  const [from, to] = [bound(start, 0), bound(end, all.length)];
  const inside = all.slice(from, to).join('');
  const sought = expectText('find', part);
  const at = last ? inside.lastIndexOf(sought) : inside.indexOf(sought);
  if (from > to || at < 0) return -1;
  return from + characters(inside.slice(0, at)).length;
}

const begins = (
  text: string,
  args: Arguments,
  test: (part: string) => boolean,
  what: string,
): boolean => {
  const { prefix } = bind(what, args, ['prefix'], 1);
  const parts = prefix instanceof Tuple ? prefix.items : [prefix!];
  return parts.map((part) => expectText(what, part)).some(test);
};

const only = (text: string, pattern: RegExp): boolean => pattern.test(text);
const isCased = (text: string, pattern: RegExp, not: RegExp): boolean =>
  pattern.test(text) && !not.test(text);
/** `str.islower` */
export const isLower = (text: string): boolean =>
  isCased(text, /\p{Lowercase}/u, /[\p{Uppercase}\p{Lt}]/u);
/** `str.isupper` */
export const isUpper = (text: string): boolean =>
  isCased(text, /\p{Uppercase}/u, /[\p{Lowercase}\p{Lt}]/u);

function partition(text: string, separator: Value, last: boolean): Tuple {
  const by = expectText('partition', separator);
  if (by === '') throw new Fault('partition by an empty text');
  const at = last ? text.lastIndexOf(by) : text.indexOf(by);
  if (at >= 0) return new Tuple([text.slice(0, at), by, text.slice(at + by.length)]);
  return new Tuple(last ? ['', '', text] : [text, '', '']);
}

/** Filled up to a width on the left, the right or both. */
export function justify(
  text: string,
  { width, fill = ' ' }: { width?: Value; fill?: Value },
  side: 'left' | 'right' | 'both',
): string {
  const to = expectInt('a width', width!);
  const [length, by] = [characters(text).length, expectText('a fill', fill)];
  if (characters(by).length !== 1) throw new Fault('a fill of several characters');
  const room = Math.max(0, to - length);
  // As Python has it, the odd place goes to the left where the width is odd.
  const both = Math.floor(room / 2) + (room & to & 1);
  const left = side === 'left' ? room : side === 'right' ? 0 : both;
  return times(by, left) + text + times(by, room - left);
}

type Method = (text: string, args: Arguments) => Value;
const none =
  (what: string, method: (text: string) => Value): Method =>
  (text, args) => {
    bind(what, args, []);
    return method(text);
  };
const stripping =
  (what: string, sides: 'both' | 'left' | 'right'): Method =>
  (text, args) =>
    strip(text, bind(what, args, ['chars']).chars, sides);
const splitting =
  (what: string, fromRight: boolean): Method =>
  (text, args) => {
    const { sep = null, maxsplit = -1 } = bind(what, args, ['sep', 'maxsplit']);
    return split(text, sep, expectInt(what, maxsplit), fromRight);
  };
const finding =
  (what: string, last: boolean, must: boolean): Method =>
  (text, { positional, named }) => {
    if (named.size || positional.length < 1 || positional.length > 3)
      throw new Fault(`${what} with other arguments`);
    const at = find(text, positional, last);
    if (must && at < 0) throw new Fault(`${what} of what is not there`);
    return at;
  };
const justifying =
  (what: string, side: 'left' | 'right' | 'both'): Method =>
  (text, args) =>
    justify(text, bind(what, args, ['width', 'fill'], 1), side);

/** Methods of `str`, by name. */
export const textMethods: Readonly<Record<string, Method>> = {
  capitalize: none('capitalize', capitalize),
  center: justifying('center', 'both'),
  ljust: justifying('ljust', 'right'),
  rjust: justifying('rjust', 'left'),
  lower: none('lower', (text) => text.toLowerCase()),
  upper: none('upper', (text) => text.toUpperCase()),
  title: none('title', title),
  strip: stripping('strip', 'both'),
  lstrip: stripping('lstrip', 'left'),
  rstrip: stripping('rstrip', 'right'),
  split: splitting('split', false),
  rsplit: splitting('rsplit', true),
  find: finding('find', false, false),
  rfind: finding('rfind', true, false),
  index: finding('index', false, true),
  rindex: finding('rindex', true, true),
  splitlines: (text, args) =>
    splitLines(text, bind('splitlines', args, ['keepends']).keepends === true),
  startswith: (text, args) => begins(text, args, (part) => text.startsWith(part), 'startswith'),
  endswith: (text, args) => begins(text, args, (part) => text.endsWith(part), 'endswith'),
  partition: (text, args) => partition(text, bind('partition', args, ['sep'], 1).sep!, false),
  rpartition: (text, args) => partition(text, bind('rpartition', args, ['sep'], 1).sep!, true),
  removeprefix: (text, args) => {
    const prefix = expectText('removeprefix', bind('removeprefix', args, ['prefix'], 1).prefix!);
    return text.startsWith(prefix) ? text.slice(prefix.length) : text;
  },
  removesuffix: (text, args) => {
    const suffix = expectText('removesuffix', bind('removesuffix', args, ['suffix'], 1).suffix!);
    return suffix !== '' && text.endsWith(suffix) ? text.slice(0, -suffix.length) : text;
  },
  replace: (text, args) => {
    const { old, new: by, count = -1 } = bind('replace', args, ['old', 'new', 'count'], 2);
    return replace(
      text,
      expectText('replace', old!),
      expectText('replace', by!),
      expectInt('replace', count),
    );
  },
  count: (text, args) => {
    const part = expectText('count', bind('count', args, ['sub'], 1).sub!);
    return part === '' ? characters(text).length + 1 : text.split(part).length - 1;
  },
  join: (text, args) =>
    limited(
      iterate(bind('join', args, ['iterable'], 1).iterable!)
        .map((one) => expectText('join', one))
        .join(text),
    ),
  zfill: (text, args) => {
    const sign = /^[-+]?/.exec(text)![0];
    const width = expectInt('zfill', bind('zfill', args, ['width'], 1).width!);
    return (
      sign + times('0', Math.max(0, width - characters(text).length)) + text.slice(sign.length)
    );
  },
  format: formatFields,
  isalpha: none('isalpha', (text) => only(text, /^\p{L}+$/u)),
  isalnum: none('isalnum', (text) => only(text, /^[\p{L}\p{N}]+$/u)),
  isdigit: none('isdigit', (text) => {
    if (/\p{No}/u.test(text)) throw new Fault('isdigit of numbers that are no decimals');
    return only(text, /^\p{Nd}+$/u);
  }),
  isdecimal: none('isdecimal', (text) => only(text, /^\p{Nd}+$/u)),
  isspace: none('isspace', (text) => only(text, new RegExp(`^[${space}]+$`))),
  islower: none('islower', isLower),
  isupper: none('isupper', isUpper),
};

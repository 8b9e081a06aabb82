import { Fault } from './values.ts';

const two = (n: number): string => String(n).padStart(2, '0');
const named = (options: Intl.DateTimeFormatOptions) => (date: Date) =>
  new Intl.DateTimeFormat('en-US', options).format(date);
const hour12 = (date: Date): number => date.getHours() % 12 || 12;
const dayOfYear = (date: Date): number =>
  Math.round(
    (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) -
      Date.UTC(date.getFullYear(), 0, 0)) /
      86_400_000,
  );

/** Python's names of the parts of a time, in the C locale. */
const fields: Readonly<Record<string, (date: Date) => string>> = {
  Y: (date) => String(date.getFullYear()),
  y: (date) => two(date.getFullYear() % 100),
  m: (date) => two(date.getMonth() + 1),
  d: (date) => two(date.getDate()),
  e: (date) => String(date.getDate()).padStart(2),
  j: (date) => String(dayOfYear(date)).padStart(3, '0'),
  H: (date) => two(date.getHours()),
  I: (date) => two(hour12(date)),
  M: (date) => two(date.getMinutes()),
  S: (date) => two(date.getSeconds()),
  f: (date) => String(date.getMilliseconds() * 1000).padStart(6, '0'),
  p: (date) => (date.getHours() < 12 ? 'AM' : 'PM'),
  b: named({ month: 'short' }),
  h: named({ month: 'short' }),
  B: named({ month: 'long' }),
  a: named({ weekday: 'short' }),
  A: named({ weekday: 'long' }),
  F: (date) => strftime('%Y-%m-%d', date),
  T: (date) => strftime('%H:%M:%S', date),
  D: (date) => strftime('%m/%d/%y', date),
  R: (date) => strftime('%H:%M', date),
  n: () => '\n',
  t: () => '\t',
  '%': () => '%',
};

/** Python's `strftime`; `%-d` is a number without what fills it up. Throws `Fault` for what it does not know. */
export const strftime = (format: string, date: Date): string =>
  format.replace(/%(-?)([^]?)/g, (all, bare: string, letter: string) => {
    const write = Object.hasOwn(fields, letter) ? fields[letter] : undefined;
    if (!write || (bare && !/[mdejHIMSy]/.test(letter))) throw new Fault(`${all} in a time`);
    return bare ? write(date).replace(/^[0 ]+(?=.)/, '') : write(date);
  });

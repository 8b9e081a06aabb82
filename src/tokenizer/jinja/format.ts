import { decimal, repr, str } from './print.ts';
import {
  type Arguments,
  characters,
  Fault,
  Float,
  int,
  numeric,
  times,
  typeName,
  type Value,
} from './values.ts';

/** How one value is written. */
interface Spec {
  /** Around a text shorter than `width`; `=` puts it after the sign. */
  readonly align: '<' | '>' | '^' | '=';
  readonly fill: string;
  readonly sign: string;
  /** Prefixes of hexadecimal and octal numbers. */
  readonly alternate: boolean;
  readonly width: number;
  readonly grouping: string;
  readonly precision: number | undefined;
}

const conversion = /%(?:\(([^)]*)\))?([-+ 0#]*)(\d+|\*)?(?:\.(\d+|\*))?([a-zA-Z%])/g;

/** Python's `text % values`. */
export function printf(
  text: string,
  values: readonly Value[] | ReadonlyMap<unknown, Value>,
): string {
  const list = Array.isArray(values) ? (values as readonly Value[]) : undefined;
  let used = 0;
  let written = '';
  let from = 0;
  for (const found of text.matchAll(conversion)) {
    written += plain(text.slice(from, found.index));
    from = found.index + found[0].length;
    const [, name, flags, width, precision, type] = found;
    if (width === '*' || precision === '*') throw new Fault(`${found[0]} in a format`);
    if (type === '%') {
      if (found[0] !== '%%') throw new Fault(`${found[0]} in a format`);
      written += '%';
      continue;
    }
    const value =
      name === undefined ? list?.[used++] : (values as ReadonlyMap<unknown, Value>).get(name);
    if (value === undefined || (name !== undefined && list))
      throw new Fault(`${found[0]} in a format has no value`);
    written += convert(value, type, {
      align: flags.includes('-') ? '<' : flags.includes('0') && !'srac'.includes(type) ? '=' : '>',
      fill: flags.includes('0') && !flags.includes('-') && !'srac'.includes(type) ? '0' : ' ',
      sign: flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '-',
      alternate: flags.includes('#'),
      width: Number(width ?? 0),
      grouping: '',
      precision: precision === undefined ? undefined : Number(precision),
    });
  }
  written += plain(text.slice(from));
  if (list && used < list.length) throw new Fault('a format takes fewer values than it is given');
  return written;
}

function plain(text: string): string {
  if (text.includes('%')) throw new Fault(`% in a format, in ${JSON.stringify(text)}`);
  return text;
}

function convert(value: Value, type: string, spec: Spec): string {
  const cut = (text: string): string => {
    const shown =
      spec.precision === undefined ? text : characters(text).slice(0, spec.precision).join('');
    return pad(shown, spec);
  };
  if (type === 's') return cut(str(value));
  if (type === 'r') return cut(repr(value));
  const number = numeric(value);
  if (type === 'c' && typeof value === 'string' && characters(value).length === 1)
    return cut(value);
  if (number === undefined) throw new Fault(`a ${typeName(value)} as %${type}`);
  if ('diu'.includes(type)) {
    if (spec.precision !== undefined) throw new Fault('the precision of an integer in a format');
    return signed(number, String(Math.abs(int(Math.trunc(number)))), spec);
  }
  if ('xXo'.includes(type) && !(value instanceof Float)) return based(number, type, spec);
  if ('fF'.includes(type)) return signed(number, fixed(number, spec.precision ?? 6), spec);
  throw new Fault(`%${type} of a ${typeName(value)}`);
}

function based(number: number, type: string, spec: Spec): string {
  const digits = Math.abs(number).toString(type.toLowerCase() === 'o' ? 8 : type === 'b' ? 2 : 16);
  const text = (spec.alternate ? `0${type}` : '') + (type === 'X' ? digits.toUpperCase() : digits);
  return signed(number, text, spec);
}

/** Absolute value with so many decimals, half to even where it is exactly between two. */
export function fixed(value: number, decimals: number): string {
  const size = Math.abs(value);
  if (!(size < 1e21) || decimals > 100) throw new Fault(`${value} with ${decimals} decimals`);
  const text = size.toFixed(decimals);
  // JavaScript rounds such a value up. It is one only where its binary digits end in time.
  const scaled = size * 10 ** decimals;
  const between = Number.isInteger(size * 2 ** (decimals + 1)) && scaled % 1 === 0.5;
  if (!between || Number(text.at(-1)) % 2 === 0) return text;
  return (BigInt(text.replace('.', '')) - 1n)
    .toString()
    .padStart(decimals + 1, '0')
    .replace(new RegExp(`(\\d{${decimals}})$`), decimals ? '.$1' : '$1');
}

const signed = (number: number, digits: string, spec: Spec): string => {
  const negative = number < 0 || Object.is(number, -0);
  return pad(digits, spec, negative ? '-' : spec.sign === '-' ? '' : spec.sign);
};

function pad(text: string, { align, fill, width }: Spec, sign = ''): string {
  const room = Math.max(0, width - characters(text).length - sign.length);
  if (align === '=') return sign + times(fill, room) + text;
  const left = align === '<' ? 0 : align === '>' ? room : Math.floor(room / 2);
  return times(fill, left) + sign + text + times(fill, room - left);
}

/** Python's `text.format(…)`; of a field, its name or number alone. */
export function formatFields(text: string, { positional, named }: Arguments): string {
  let next = 0;
  let counted = false;
  return text.replace(
    /\{\{|\}\}|\{([^{}!:]*)(?:!([sr]))?(?::([^{}]*))?\}|[{}]/g,
    (found: string, field?: string, how?: string, spec: string = '') => {
      if (found === '{{' || found === '}}') return found[0];
      if (field === undefined) throw new Fault(`${found} in a format`);
      if (!/^\w*$/.test(field)) throw new Fault(`the field ${field} of a format`);
      if (/^\d+$/.test(field)) counted = true;
      if (counted && (field === '' || next > 0))
        throw new Fault('fields of a format with numbers and without');
      const value = /^\d*$/.test(field)
        ? positional[field === '' ? next++ : Number(field)]
        : named.get(field);
      if (value === undefined) throw new Fault(`the field ${found} of a format has no value`);
      const shown = how === 's' ? str(value) : how === 'r' ? repr(value) : value;
      return formatOne(shown, spec);
    },
  );
}

const fieldSpec = /^(?:([^])?([<>=^]))?([-+ ]?)(#?)(0?)(\d*)([,_]?)(?:\.(\d+))?([a-zA-Z%]?)$/u;

function formatOne(value: Value, text: string): string {
  if (text === '') return str(value);
  const [found, fill, align, sign, alternate, zero, width, grouping, precision, type] =
    fieldSpec.exec(text) ?? [];
  const number = numeric(value);
  const isText = typeof value === 'string';
  if (found === undefined || (!isText && typeof value !== 'number' && !(value instanceof Float)))
    throw new Fault(`a ${typeName(value)} in the format ${JSON.stringify(text)}`);
  const spec: Spec = {
    align: (align ?? (zero && !isText ? '=' : isText ? '<' : '>')) as Spec['align'],
    fill: fill ?? (zero ? '0' : ' '),
    sign: sign || '-',
    alternate: alternate === '#',
    width: Number(width || 0),
    grouping: grouping ?? '',
    precision: precision === undefined ? undefined : Number(precision),
  };
  const refuse = (): never => {
    throw new Fault(`a ${typeName(value)} in the format ${JSON.stringify(text)}`);
  };
  if (isText) {
    if ((type && type !== 's') || sign || grouping || alternate || align === '=') refuse();
    return convert(value, 's', spec);
  }
  const group = (digits: string): string => {
    if (!grouping) return digits;
    if (spec.fill === '0') refuse();
    return digits.replace(/^\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, grouping));
  };
  if (typeof value === 'number' && ['', 'd'].includes(type) && precision === undefined)
    return signed(value, group(String(Math.abs(value))), spec);
  if (typeof value === 'number' && ['x', 'X', 'o', 'b'].includes(type) && !grouping)
    return based(value, type, spec);
  if (type === 'f' || type === 'F')
    return signed(number!, group(fixed(number!, spec.precision ?? 6)), spec);
  if (type === '%') return signed(number!, `${fixed(number! * 100, spec.precision ?? 6)}%`, spec);
  if (type === '' && precision === undefined)
    return signed(number!, group(decimal(Math.abs(number!))), spec);
  return refuse();
}

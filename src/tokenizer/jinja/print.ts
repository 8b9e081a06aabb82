import {
  characters,
  counted,
  type Dict,
  Fault,
  Float,
  Lazy,
  limited,
  Marked,
  Tuple,
  Undefined,
  type Value,
  typeName,
} from './values.ts';

/** What `{{ }}`, `~` and `string` print: Python's `str`. */
export function str(value: Value): string {
  if (typeof value === 'string') return value;
  if (value instanceof Marked) return value.text;
  if (value instanceof Undefined) return '';
  return limited(repr(value));
}

/** Python's `repr`. */
export function repr(value: Value, part = counted()): string {
  part();
  const all = (values: readonly Value[]): string =>
    limited(values.map((one) => repr(one, part)).join(', '));
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') return quoted(value);
  if (Array.isArray(value)) return `[${all(value)}]`;
  if (value instanceof Float) return decimal(value.value);
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Tuple)
    return value.items.length === 1 ? `(${all(value.items)},)` : `(${all(value.items)})`;
  if (value instanceof Map) return reprDict(value, part);
  if (value instanceof Lazy && value.kind === 'range') return value.name;
  if (value instanceof Lazy && value.kind === 'view')
    return `${value.name}([${all(value.take())}])`;
  if (value instanceof Marked) return `Markup(${quoted(value.text)})`;
  throw new Fault(`a ${typeName(value)} is printed`);
}

const reprDict = (dict: Dict, part: () => void): string =>
  limited(
    `{${[...dict].map(([name, one]) => `${repr(name, part)}: ${repr(one, part)}`).join(', ')}}`,
  );

/** Python's `repr` of a float: the fewest digits that give it again, with an exponent from 1e16 and below 1e-4. */
export function decimal(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'nan' : value < 0 ? '-inf' : 'inf';
  if (Object.is(value, -0)) return '-0.0';
  const [digits, power] = value.toExponential().split('e');
  const exponent = Number(power);
  if (value !== 0 && (exponent < -4 || exponent >= 16)) {
    const size = String(Math.abs(exponent)).padStart(2, '0');
    return `${digits}e${exponent < 0 ? '-' : '+'}${size}`;
  }
  if (Number.isInteger(value)) return `${BigInt(value)}.0`;
  const text = String(value);
  return text.includes('e') ? value.toFixed(digits.replace(/\D/g, '').length - 1 - exponent) : text;
}

const escapes: Readonly<Record<string, string>> = {
  ...{ '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' },
};

/** Python's `repr` of a text. */
function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inside = characters(text).map((one) => {
    if (one === quote) return `\\${one}`;
    if (Object.hasOwn(escapes, one)) return escapes[one];
    if (one === ' ' || !/[\p{C}\p{Z}]/u.test(one)) return one;
    const hex = one.codePointAt(0)!.toString(16);
    if (hex.length <= 2) return `\\x${hex.padStart(2, '0')}`;
    return hex.length <= 4 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
  });
  return quote + inside.join('') + quote;
}

/** How `json.dumps` writes. */
export interface JsonOptions {
  readonly asciiOnly: boolean;
  /** What a level is indented by; absent: all on one line. */
  readonly indent: string | undefined;
  readonly separators: readonly [item: string, key: string];
  readonly sortKeys: boolean;
}

/** Python's `json.dumps`. */
export function dumps(value: Value, options: JsonOptions, depth = 0, part = counted()): string {
  part();
  const { asciiOnly, indent, separators, sortKeys } = options;
  const text = (one: string): string => {
    const written = JSON.stringify(one);
    const code = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
    return asciiOnly ? written.replace(/[^ -~]/g, code) : written;
  };
  const around = (open: string, parts: readonly string[], close: string): string => {
    if (parts.length === 0) return open + close;
    if (indent === undefined) return limited(open + parts.join(separators[0]) + close);
    const line = (level: number): string => `\n${indent.repeat(level)}`;
    const inner = line(depth + 1);
    return limited(`${open}${inner}${parts.join(separators[0] + inner)}${line(depth)}${close}`);
  };
  const inside = (one: Value): string => dumps(one, options, depth + 1, part);
  if (value === null || typeof value === 'boolean' || typeof value === 'number')
    return String(value);
  if (value instanceof Float) return jsonNumber(value.value);
  if (typeof value === 'string') return text(value);
  if (value instanceof Marked) return text(value.text);
  if (Array.isArray(value)) return around('[', value.map(inside), ']');
  if (value instanceof Tuple) return around('[', value.items.map(inside), ']');
  if (value instanceof Map) {
    const names = [...value.keys()];
    if (sortKeys) {
      if (!names.every((name) => typeof name === 'string'))
        throw new Fault('sort_keys of keys that are no texts');
      names.sort();
    }
    const entries = names.map(
      (name) => text(String(name)) + separators[1] + inside(value.get(name)!),
    );
    return around('{', entries, '}');
  }
  throw new Fault(`a ${typeName(value)} has no JSON`);
}

const jsonNumber = (value: number): string => {
  if (Number.isFinite(value)) return decimal(value);
  return Number.isNaN(value) ? 'NaN' : value < 0 ? '-Infinity' : 'Infinity';
};

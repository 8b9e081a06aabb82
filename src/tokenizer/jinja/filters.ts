import { attribute, subscript } from './access.ts';
import { bind, expectInt, expectText } from './arguments.ts';
import { check } from './checks.ts';
import { fixed, printf } from './format.ts';
import { escape, operate } from './operators.ts';
import { dumps, str } from './print.ts';
import { capitalize, justify, replace, splitLines, strip } from './text-methods.ts';
import {
  type Arguments,
  characters,
  equal,
  Fault,
  Float,
  int,
  isText,
  iterate,
  Lazy,
  limited,
  Marked,
  numeric,
  order,
  sequence,
  size,
  textOf,
  times,
  truth,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

type Filter = (value: Value, args: Arguments) => Value;

/** A filter of Jinja's, or of transformers' in its place. Throws `Fault` for one that is not known. */
export function filter(name: string, value: Value, args: Arguments): Value {
  if (!Object.hasOwn(filters, name)) throw new Fault(`the filter ${name}`);
  if (value instanceof Marked && !ofMarked.has(name))
    throw new Fault(`${name} of a text marked safe`);
  return filters[name](value, args);
}

/** Filters that leave a marked text as it is, or make something else of it. */
const ofMarked = new Set([
  ...['safe', 'e', 'escape', 'string', 'default', 'd', 'tojson', 'length', 'count', 'int', 'float'],
]);

const generator = (items: readonly Value[]): Lazy => new Lazy('generator', 'a filter', items);

const plain =
  (what: string, of: (value: Value) => Value): Filter =>
  (value, args) => {
    bind(what, args, []);
    return of(value);
  };

/** The item that `a.b.0` names; of a whole number, that item. */
function reach(value: Value, path: Value): Value {
  const parts = typeof path === 'string' ? path.split('.') : [path];
  return parts.reduce<Value>(
    (from, part) =>
      subscript(from, typeof part === 'string' && /^\d+$/.test(part) ? Number(part) : part),
    value,
  );
}

/** What items are compared by: an attribute, and texts without case. */
const keyOf =
  ({ attribute: path, case_sensitive: cased }: { attribute?: Value; case_sensitive?: Value }) =>
  (value: Value): Value => {
    const several = typeof path === 'string' && path.includes(',');
    if (several) throw new Fault('an attribute of several');
    const found = path == null ? value : reach(value, path);
    return isText(found) && !truth(cased ?? false) ? textOf(found).toLowerCase() : found;
  };

function sorted(items: readonly Value[], key: (value: Value) => Value, reverse: boolean): Value[] {
  const keyed = items.map((value) => [key(value), value] as const);
  return keyed.sort(([a], [b]) => (reverse ? order(b, a) : order(a, b))).map(([, value]) => value);
}

const sort: Filter = (value, args) => {
  const options = bind('sort', args, ['reverse', 'case_sensitive', 'attribute']);
  return sorted(iterate(value), keyOf(options), truth(options.reverse ?? false));
};

const extreme =
  (name: string, sign: number): Filter =>
  (value, args) => {
    const key = keyOf(bind(name, args, ['case_sensitive', 'attribute']));
    const items = iterate(value);
    if (items.length === 0) return new Undefined(`the ${name} of nothing`);
    return items.reduce((best, one) => (sign * order(key(one), key(best)) > 0 ? one : best));
  };

const unique: Filter = (value, args) => {
  const key = keyOf(bind('unique', args, ['case_sensitive', 'attribute']));
  const seen: Value[] = [];
  return generator(
    iterate(value).filter((one) => {
      const by = key(one);
      if (sequence(by) !== undefined || by instanceof Map)
        throw new Fault(`unique of a ${typeName(by)}`);
      return !seen.some((other) => equal(other, by)) && seen.push(by);
    }),
  );
};

const dictsort: Filter = (value, args) => {
  const { by = 'key', ...options } = bind('dictsort', args, ['case_sensitive', 'by', 'reverse']);
  if (!(value instanceof Map) || (by !== 'key' && by !== 'value'))
    throw new Fault(`dictsort of a ${typeName(value)}`);
  const key = keyOf(options);
  const entries = [...value].map((entry) => new Tuple(entry));
  return sorted(
    entries,
    (entry) => key((entry as Tuple).items[by === 'key' ? 0 : 1]),
    truth(options.reverse ?? false),
  );
};

/** `map`: a filter of each item, or an attribute. */
const map: Filter = (value, { positional, named }) => {
  const [name, ...others] = positional;
  if (positional.length === 0) {
    const { attribute: path, default: otherwise } = bind('map', { positional, named }, [
      'attribute',
      'default',
    ]);
    if (path === undefined) throw new Fault('map without a filter');
    return generator(
      iterate(value).map((one) => {
        const found = reach(one, path);
        return found instanceof Undefined && otherwise !== undefined ? otherwise : found;
      }),
    );
  }
  const chosen = expectText('map', name);
  return generator(iterate(value).map((one) => filter(chosen, one, { positional: others, named })));
};

const selecting =
  (what: string, wanted: boolean, ofAttribute: boolean): Filter =>
  (value, { positional, named }) => {
    if (named.size) throw new Fault(`${what} with other arguments`);
    const [path, ...rest] = ofAttribute ? positional : [undefined, ...positional];
    if (ofAttribute && path === undefined) throw new Fault(`${what} without an attribute`);
    const [test, ...args] = rest;
    return generator(
      iterate(value).filter((item) => {
        const one = path === undefined ? item : reach(item, path);
        const holds =
          test === undefined ? truth(one) : check(expectText(what, test), one, args as Value[]);
        return holds === wanted;
      }),
    );
  };

const join: Filter = (value, args) => {
  const { d = '', attribute: path } = bind('join', args, ['d', 'attribute']);
  const items = iterate(value).map((one) => str(path == null ? one : reach(one, path)));
  return limited(items.join(str(d)));
};

const indent: Filter = (value, args) => {
  const {
    width = 4,
    first = false,
    blank = false,
  } = bind('indent', args, ['width', 'first', 'blank']);
  const by = isText(width) ? textOf(width) : times(' ', expectInt('indent', width));
  const text = expectText('indent', value);
  if (value instanceof Marked) throw new Fault('indent of a text marked safe');
  const [head, ...lines] = splitLines(`${text}\n`);
  const rest = lines.map((line) => (line !== '' || truth(blank) ? by + line : line));
  return limited((truth(first) ? by : '') + [head, ...rest].join('\n'));
};

/** Python's `int(…)`; a text may be a float. */
const toInt: Filter = (value, args) => {
  const { default: otherwise = 0, base = 10 } = bind('int', args, ['default', 'base']);
  if (base !== 10) throw new Fault('int of another base');
  if (value instanceof Undefined) return value.fail();
  const number = isText(value) ? parse(textOf(value)) : numeric(value);
  return number === undefined || !Number.isFinite(number) ? otherwise : int(Math.trunc(number));
};

const toFloat: Filter = (value, args) => {
  const { default: otherwise = new Float(0) } = bind('float', args, ['default']);
  if (value instanceof Undefined) return value.fail();
  const number = isText(value) ? parse(textOf(value)) : numeric(value);
  return number === undefined ? otherwise : new Float(number);
};

function parse(text: string): number | undefined {
  const plain = strip(text);
  const named = /^[-+]?(inf(inity)?|nan)$/i.exec(plain);
  if (named) return /nan/i.test(plain) ? NaN : plain.startsWith('-') ? -Infinity : Infinity;
  if (!/^[-+]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)(e[-+]?\d+)?$/i.test(plain))
    return undefined;
  return Number(plain.replaceAll('_', ''));
}

const round: Filter = (value, args) => {
  const { precision = 0, method: how = 'common' } = bind('round', args, ['precision', 'method']);
  const [number, digits] = [numeric(value), expectInt('round', precision)];
  if (number === undefined || digits < 0 || (how !== 'common' && how !== 'ceil' && how !== 'floor'))
    throw new Fault(`round of a ${typeName(value)}`);
  if (how === 'common') {
    if (!(value instanceof Float)) return number;
    return new Float(Number((number < 0 ? '-' : '') + fixed(number, digits)));
  }
  const scaled = number * 10 ** digits;
  return new Float((how === 'ceil' ? Math.ceil(scaled) : Math.floor(scaled)) / 10 ** digits);
};

/** transformers' own, which escapes nothing for HTML. */
const tojson: Filter = (value, args) => {
  const {
    ensure_ascii = false,
    indent: by = null,
    separators = null,
    sort_keys = false,
  } = bind('tojson', args, [...(['ensure_ascii', 'indent', 'separators', 'sort_keys'] as const)]);
  const pair = separators === null ? [by === null ? ', ' : ',', ': '] : sequence(separators);
  if (pair?.length !== 2) throw new Fault('separators that are no pair');
  const [item, key] = pair.map((one) => expectText('separators', one));
  return dumps(value, {
    asciiOnly: truth(ensure_ascii),
    indent: by === null ? undefined : isText(by) ? textOf(by) : times(' ', expectInt('indent', by)),
    separators: [item, key],
    sortKeys: truth(sort_keys),
  });
};

const backwards: Filter = (value, args) => {
  bind('reverse', args, []);
  if (isText(value)) return characters(textOf(value)).reverse().join('');
  const items = [...iterate(value)].reverse();
  return value instanceof Lazy && value.kind === 'generator' ? items : generator(items);
};

const ends =
  (what: string, last: boolean): Filter =>
  (value, args) => {
    bind(what, args, []);
    if (last && value instanceof Lazy && value.kind === 'generator')
      throw new Fault('last of a generator');
    const found = iterate(value).at(last ? -1 : 0);
    return found === undefined ? new Undefined(`the ${what} of nothing`) : found;
  };

const otherwise: Filter = (value, args) => {
  const { default_value: instead = '', boolean = false } = bind('default', args, [
    'default_value',
    'boolean',
  ]);
  return value instanceof Undefined || (truth(boolean) && !truth(value)) ? instead : value;
};

const words = (value: string): string =>
  value
    .split(/([-\s({[<]+)/u)
    .map((word) => {
      const [first = '', ...rest] = characters(word);
      return first.toUpperCase() + rest.join('').toLowerCase();
    })
    .join('');

const length = plain('length', (value) => size(value));
const marking =
  (of: (text: string) => string) =>
  (value: Value): Value =>
    value instanceof Marked ? value : new Marked(of(str(value)));

const filters: Readonly<Record<string, Filter>> = {
  ...{ sort, unique, dictsort, map, join, indent, int: toInt, float: toFloat, round, tojson },
  ...{ length, count: length, reverse: backwards, default: otherwise, d: otherwise },
  ...{ min: extreme('min', -1), max: extreme('max', 1) },
  ...{ first: ends('first', false), last: ends('last', true) },
  select: selecting('select', true, false),
  reject: selecting('reject', false, false),
  selectattr: selecting('selectattr', true, true),
  rejectattr: selecting('rejectattr', false, true),
  abs: plain('abs', (value) => {
    const number = numeric(value);
    if (number === undefined) throw new Fault(`abs of a ${typeName(value)}`);
    return value instanceof Float ? new Float(Math.abs(number)) : Math.abs(number);
  }),
  attr: (value, args) => {
    const { name } = bind('attr', args, ['name'], 1);
    if (value instanceof Map) throw new Fault('attr of a dict');
    return attribute(value, expectText('attr', name!));
  },
  capitalize: plain('capitalize', (value) => capitalize(str(value))),
  center: (value, args) =>
    justify(str(value), { width: 80, ...bind('center', args, ['width']) }, 'both'),
  escape: plain('escape', marking(escape)),
  e: plain('escape', marking(escape)),
  safe: plain(
    'safe',
    marking((text) => text),
  ),
  format: (value, { positional, named }) => {
    if (positional.length && named.size) throw new Fault('format with arguments of both kinds');
    return printf(str(value), named.size ? named : positional);
  },
  items: plain('items', (value) => {
    if (value instanceof Undefined) return generator([]);
    if (!(value instanceof Map)) throw new Fault(`items of a ${typeName(value)}`);
    return generator([...value].map((entry) => new Tuple(entry)));
  }),
  list: plain('list', (value) => [...iterate(value)]),
  lower: plain('lower', (value) => str(value).toLowerCase()),
  upper: plain('upper', (value) => str(value).toUpperCase()),
  title: plain('title', (value) => words(str(value))),
  string: plain('string', (value) => (value instanceof Marked ? value : str(value))),
  trim: (value, args) => strip(str(value), bind('trim', args, ['chars']).chars),
  replace: (value, args) => {
    const { old, new: by, count = null } = bind('replace', args, ['old', 'new', 'count'], 2);
    return replace(
      str(value),
      str(old!),
      str(by!),
      count === null ? -1 : expectInt('replace', count),
    );
  },
  sum: (value, args) => {
    const { attribute: path = null, start = 0 } = bind('sum', args, ['attribute', 'start']);
    return iterate(value).reduce(
      (total, one) => operate('+', total, path === null ? one : reach(one, path)),
      start,
    );
  },
  wordcount: plain('wordcount', (value) => str(value).match(/[\p{L}\p{N}_\p{M}]+/gu)?.length ?? 0),
};

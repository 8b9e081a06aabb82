import { bind, expectInt } from './arguments.ts';
import { textMethods } from './text-methods.ts';
import {
  Attributes,
  Callable,
  characters,
  type Dict,
  equal,
  Fault,
  Float,
  isText,
  key,
  Lazy,
  sequence,
  textOf,
  Marked,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

/** `value.name`: an attribute or method first, then an item. */
export function attribute(value: Value, name: string): Value {
  const found = method(value, name) ?? item(value, name);
  return found === undefined ? missing(value, name) : found;
}

/** `value[which]`: an item first, then an attribute. */
export function subscript(value: Value, which: Value): Value {
  if (value instanceof Undefined) return value.fail();
  const found = item(value, which);
  if (found !== undefined) return found;
  const own = isText(which) ? method(value, textOf(which)) : undefined;
  return own === undefined ? missing(value, which) : own;
}

const missing = (value: Value, name: Value): Undefined => {
  if (value instanceof Undefined) return value.fail();
  return new Undefined(
    typeof name === 'string'
      ? `${JSON.stringify(name)} of a ${typeName(value)}`
      : `an item of a ${typeName(value)}`,
  );
};

function item(value: Value, which: Value): Value | undefined {
  if (value instanceof Map) {
    if (typeof which === 'boolean' || which instanceof Float)
      throw new Fault(`a ${typeName(which)} as a key`);
    const simple = which === null || typeof which === 'number' || isText(which);
    return simple ? value.get(key(which)) : undefined;
  }
  if (value instanceof Attributes)
    return typeof which === 'string' ? value.fields.get(which) : undefined;
  if (typeof which !== 'number' && typeof which !== 'boolean') return undefined;
  if (typeof value === 'string') return characters(value).at(Number(which));
  if (value instanceof Marked) throw new Fault('an item of a text marked safe');
  if (value instanceof Lazy)
    return value.kind === 'range' ? value.take().at(Number(which)) : undefined;
  return sequence(value)?.at(Number(which));
}

/** `value[start:stop:step]` */
export function slice(value: Value, bounds: readonly Value[]): Value {
  const [start = null, stop = null, step = null] = bounds.map((one) =>
    one === null ? null : expectInt('a slice', one),
  );
  const by = step ?? 1;
  if (by === 0) throw new Fault('a slice by 0');
  const take = <T>(items: readonly T[]): T[] => {
    const n = items.length;
    const place = (at: number | null, otherwise: number): number => {
      if (at === null) return otherwise;
      const from = at < 0 ? at + n : at;
      return by > 0 ? Math.min(n, Math.max(0, from)) : Math.min(n - 1, Math.max(-1, from));
    };
    const [from, to] =
      by > 0 ? [place(start, 0), place(stop, n)] : [place(start, n - 1), place(stop, -1)];
    const taken: T[] = [];
    for (let i = from; by > 0 ? i < to : i > to; i += by) taken.push(items[i]);
    return taken;
  };
  if (typeof value === 'string') return take(characters(value)).join('');
  if (Array.isArray(value)) return take(value);
  if (value instanceof Tuple) return new Tuple(take(value.items));
  if (value instanceof Undefined) return value.fail();
  throw new Fault(`a slice of a ${typeName(value)}`);
}

/** What Python's values have and a template may not use, since it changes them or leads out of them. */
const refused = new Set([
  ...['append', 'clear', 'extend', 'insert', 'pop', 'remove', 'reverse', 'sort', 'popitem'],
  ...['setdefault', 'update', 'fromkeys', 'format_map', 'encode', 'translate', 'maketrans'],
  ...['casefold', 'expandtabs', 'swapcase', 'isascii', 'isidentifier', 'isnumeric', 'istitle'],
  'isprintable',
]);

function method(value: Value, name: string): Value | undefined {
  if (name.startsWith('__')) throw new Fault(`the attribute ${name}`);
  if (value instanceof Marked) throw new Fault(`${name} of a text marked safe`);
  if (value instanceof Attributes) {
    if (!value.settable && name.startsWith('depth')) throw new Fault(`loop.${name}`);
    return value.fields.get(name);
  }
  const own =
    typeof value === 'string' && Object.hasOwn(textMethods, name)
      ? new Callable(name, (args) => textMethods[name](value, args))
      : value instanceof Map
        ? dictMethod(value, name)
        : Array.isArray(value) && name === 'copy'
          ? new Callable(name, () => value.slice())
          : Array.isArray(value) || value instanceof Tuple
            ? listMethod(sequence(value)!, name)
            : undefined;
  if (own) return own;
  const has = typeof value === 'string' || value instanceof Map || Array.isArray(value);
  const numbers = typeof value === 'number' || typeof value === 'boolean' || value instanceof Float;
  if (
    (has && refused.has(name)) ||
    (numbers &&
      /^(real|imag|numerator|denominator|conjugate|bit_|as_|is_|to_|from_|hex)/.test(name)) ||
    value instanceof Lazy ||
    value instanceof Callable
  )
    throw new Fault(`${name} of a ${typeName(value)}`);
  return undefined;
}

function dictMethod(dict: Dict, name: string): Callable | undefined {
  const views: Readonly<Record<string, () => Value[]>> = {
    items: () => [...dict].map((entry) => new Tuple(entry)),
    keys: () => [...dict.keys()],
    values: () => [...dict.values()],
  };
  if (Object.hasOwn(views, name))
    return new Callable(name, (args) => {
      bind(name, args, []);
      return new Lazy('view', `dict_${name}`, views[name]());
    });
  if (name === 'get')
    return new Callable(name, (args) => {
      const { positional, named } = args;
      if (named.size || positional.length < 1 || positional.length > 2)
        throw new Fault('get with other arguments');
      const found = item(dict, positional[0]);
      return found === undefined ? (positional[1] ?? null) : found;
    });
  if (name === 'copy') return new Callable(name, () => new Map(dict));
  return undefined;
}

function listMethod(items: readonly Value[], name: string): Callable | undefined {
  if (name === 'count')
    return new Callable(name, (args) => {
      const { value } = bind(name, args, ['value'], 1);
      return items.filter((one) => equal(one, value!)).length;
    });
  if (name === 'index')
    return new Callable(name, (args) => {
      const { value } = bind(name, args, ['value'], 1);
      const at = items.findIndex((one) => equal(one, value!));
      if (at < 0) throw new Fault('index of what is not there');
      return at;
    });
  return undefined;
}

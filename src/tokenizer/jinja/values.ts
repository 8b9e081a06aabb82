/** Values of a template as Python has them: a number is an int, text is a str, an array a list, a Map a dict. */
export type Value =
  | null
  | boolean
  | number
  | string
  | Float
  | Undefined
  | Marked
  | Tuple
  | Lazy
  | Attributes
  | Callable
  | Value[]
  | Dict;

/** A dict. */
export type Dict = Map<Key, Value>;
/** Python takes other keys too; a template that does is refused. */
export type Key = string | number | null;

/** What Python would refuse, or what is not computed as Python does. */
export class Fault extends Error {}

/** A float; a whole one is another thing than an int. */
export class Float {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** What a name or an item that is not there gives. */
export class Undefined {
  /** What was asked for. */
  readonly what: string;
  constructor(what: string) {
    this.what = what;
  }
  fail(): never {
    throw new Fault(`${this.what} is undefined`);
  }
}

/** A text that `safe` or `escape` made: what is added to it is escaped. */
export class Marked {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** A tuple. */
export class Tuple {
  readonly items: readonly Value[];
  constructor(items: readonly Value[]) {
    this.items = items;
  }
}

/** Items that are not a list: a range, a view of a dict, or what a filter gives, which can be gone through once. */
export class Lazy {
  readonly kind: 'range' | 'view' | 'generator';
  /** As Python prints it around its items; of a generator, what it came from. */
  readonly name: string;
  readonly #items: readonly Value[];
  #used = false;
  constructor(kind: Lazy['kind'], name: string, items: readonly Value[]) {
    this.kind = kind;
    this.name = name;
    this.#items = items;
  }
  take(): readonly Value[] {
    if (this.kind === 'generator' && this.#used) return [];
    this.#used = true;
    return this.#items;
  }
}

/** A namespace, which can be set, or `loop`, which cannot. */
export class Attributes {
  readonly fields: Map<string, Value>;
  readonly settable: boolean;
  constructor(fields: Map<string, Value>, settable: boolean) {
    this.fields = fields;
    this.settable = settable;
  }
}

/** What a function is called with. */
export interface Arguments {
  readonly positional: readonly Value[];
  readonly named: ReadonlyMap<string, Value>;
}

/** A function, method or macro. */
export class Callable {
  readonly name: string;
  readonly call: (args: Arguments) => Value;
  constructor(name: string, call: (args: Arguments) => Value) {
    this.name = name;
    this.call = call;
  }
}

/** What is done in one go before it is stopped: lists in lists grow without end. */
const mostParts = 1_000_000;
/** Characters of one text. */
const mostCharacters = 2 ** 24;

/** A function that throws when it was called too often. */
export function counted(): () => void {
  let parts = 0;
  return () => {
    if (++parts > mostParts) throw new Fault(`a value has more than ${mostParts} parts`);
  };
}

/** Characters as Python counts them. */
export const characters = (text: string): string[] => Array.from(text);
/** A text that a template made, within the limit. */
export function limited(text: string): string {
  if (text.length > mostCharacters)
    throw new Fault(`it makes a text of more than ${mostCharacters} characters`);
  return text;
}

/** `n` times a text, within the limit. */
export function times(text: string, n: number): string {
  if (text.length * n > mostCharacters)
    throw new Fault(`it makes a text of more than ${mostCharacters} characters`);
  return text.repeat(Math.max(0, n));
}

/** An int that JavaScript has exactly. */
export function int(value: number): number {
  if (!Number.isSafeInteger(value)) throw new Fault(`an integer beyond 2^53, ${value}`);
  return value === 0 ? 0 : value;
}

/** From what JavaScript has; fields that are undefined are not there. */
export function fromJs(value: unknown, part = counted()): Value {
  part();
  if (value === undefined) return new Undefined('a value');
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  if (typeof value === 'number') return Number.isInteger(value) ? int(value) : new Float(value);
  if (value instanceof Callable) return value;
  if (Array.isArray(value)) return value.map((one) => fromJs(one, part));
  if (typeof value === 'object')
    return new Map(
      Object.entries(value)
        .filter(([, one]) => one !== undefined)
        .map(([key, one]) => [key, fromJs(one, part)]),
    );
  throw new Fault(`a ${typeof value} among the variables`);
}

/** Python's name of the type. */
export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (Array.isArray(value)) return 'list';
  const names = { boolean: 'bool', number: 'int', string: 'str' } as const;
  if (typeof value !== 'object') return names[typeof value as keyof typeof names];
  if (value instanceof Map) return 'dict';
  if (value instanceof Lazy) return value.kind;
  if (value instanceof Attributes) return value.settable ? 'Namespace' : 'LoopContext';
  return value.constructor.name;
}

/** A text, marked or not. */
export const isText = (value: Value): value is string | Marked =>
  typeof value === 'string' || value instanceof Marked;

/** An int, float or bool as a number. */
export function numeric(value: Value): number | undefined {
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean') return Number(value);
  return value instanceof Float ? value.value : undefined;
}

/** Of an expression, whether it holds. */
export function truth(value: Value): boolean {
  if (value === null || value instanceof Undefined) return false;
  if (typeof value !== 'object') return Boolean(value);
  if (value instanceof Float) return value.value !== 0;
  if (value instanceof Marked) return value.text !== '';
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof Tuple) return value.items.length > 0;
  if (value instanceof Map) return value.size > 0;
  if (value instanceof Lazy && value.kind !== 'generator') return value.take().length > 0;
  return true;
}

/** The items one goes through. */
export function iterate(value: Value): readonly Value[] {
  if (typeof value === 'string') return characters(value);
  if (value instanceof Marked) return characters(value.text);
  if (Array.isArray(value)) return value;
  if (value instanceof Tuple) return value.items;
  if (value instanceof Map) return [...value.keys()];
  if (value instanceof Lazy) return value.take();
  if (value instanceof Undefined) return [];
  throw new Fault(`a ${typeName(value)} is not iterable`);
}

/** Python's `len`. */
export function size(value: Value): number {
  if (value instanceof Undefined) return 0;
  const countable = value instanceof Lazy ? value.kind !== 'generator' : isSized(value);
  if (!countable) throw new Fault(`a ${typeName(value)} has no length`);
  return iterate(value).length;
}

const isSized = (value: Value): boolean =>
  isText(value) || Array.isArray(value) || value instanceof Tuple || value instanceof Map;

/** A key of a dict. */
export function key(value: Value): Key {
  if (typeof value === 'string' || typeof value === 'number' || value === null) return value;
  if (value instanceof Marked) return value.text;
  throw new Fault(`a ${typeName(value)} as a key`);
}

/** `==` */
export function equal(a: Value, b: Value, part = counted()): boolean {
  part();
  const [x, y] = [numeric(a), numeric(b)];
  if (x !== undefined && y !== undefined) return x === y;
  if (isText(a) && isText(b)) return textOf(a) === textOf(b);
  if (a instanceof Undefined && b instanceof Undefined) return true;
  const [list, other] = [sequence(a), sequence(b)];
  if (list && other)
    return (
      a instanceof Tuple === b instanceof Tuple &&
      list.length === other.length &&
      list.every((one, i) => equal(one, other[i], part))
    );
  if (a instanceof Map && b instanceof Map)
    return (
      a.size === b.size &&
      [...a].every(([name, one]) => b.has(name) && equal(one, b.get(name)!, part))
    );
  if (a instanceof Lazy && b instanceof Lazy && a !== b)
    throw new Fault(`a ${typeName(a)} compared with a ${typeName(b)}`);
  return a === b;
}

/** Of a text, marked or not, its characters. */
export const textOf = (text: string | Marked): string =>
  typeof text === 'string' ? text : text.text;

/** Items of a list or a tuple. */
export const sequence = (value: Value): readonly Value[] | undefined =>
  Array.isArray(value) ? value : value instanceof Tuple ? value.items : undefined;

/** Below 0 where a comes before b. */
export function order(a: Value, b: Value, part = counted()): number {
  part();
  const [x, y] = [numeric(a), numeric(b)];
  if (x !== undefined && y !== undefined) return x < y ? -1 : x > y ? 1 : x === y ? 0 : NaN;
  if (isText(a) && isText(b)) return orderTexts(textOf(a), textOf(b));
  const [list, other] = [sequence(a), sequence(b)];
  if (list && other && a instanceof Tuple === b instanceof Tuple) {
    const at = list.findIndex((one, i) => i < other.length && !equal(one, other[i], part));
    return at < 0 ? list.length - other.length : order(list[at], other[at], part);
  }
  for (const one of [a, b]) if (one instanceof Undefined) one.fail();
  throw new Fault(`a ${typeName(a)} compared with a ${typeName(b)}`);
}

/** By characters, which is not the order of JavaScript's units. */
function orderTexts(a: string, b: string): number {
  if (!/[\ud800-\uffff]/.test(a + b)) return a < b ? -1 : a > b ? 1 : 0;
  const [x, y] = [a, b].map((text) => characters(text).map((one) => one.codePointAt(0)!));
  const at = x.findIndex((one, i) => one !== y[i]);
  if (at < 0) return x.length - y.length;
  return at < y.length ? x[at] - y[at] : 1;
}

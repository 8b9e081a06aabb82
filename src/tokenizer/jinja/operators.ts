import { printf } from './format.ts';
import { str } from './print.ts';
import {
  equal,
  Fault,
  Float,
  int,
  isText,
  iterate,
  key,
  limited,
  Marked,
  numeric,
  order,
  sequence,
  textOf,
  times,
  Tuple,
  Undefined,
  type Value,
  typeName,
} from './values.ts';

/** `&`, `<`, `>` and quotes as HTML has them. */
export const escape = (text: string): string =>
  text.replace(
    /[&<>"']/g,
    (one) => `&${{ '&': 'amp', '<': 'lt', '>': 'gt', '"': '#34', "'": '#39' }[one]};`,
  );

/** What an operator between two values gives, but for `and` and `or`. */
export function operate(operator: string, a: Value, b: Value): Value {
  switch (operator) {
    case '==':
      return equal(a, b);
    case '!=':
      return !equal(a, b);
    case '<':
      return order(a, b) < 0;
    case '<=':
      return order(a, b) <= 0;
    case '>':
      return order(a, b) > 0;
    case '>=':
      return order(a, b) >= 0;
    case 'in':
      return contains(b, a);
    case 'not in':
      return !contains(b, a);
    case '~':
      return limited(str(a) + str(b));
    default:
      return arithmetic(operator, a, b);
  }
}

/** Whether a container has an item, a dict a key, a text a part. */
function contains(container: Value, item: Value): boolean {
  if (isText(container)) {
    if (!isText(item)) throw new Fault(`a ${typeName(item)} in a str`);
    return textOf(container).includes(textOf(item));
  }
  if (container instanceof Map)
    return (
      !(typeof item === 'boolean' || item instanceof Float) &&
      !(item instanceof Undefined) &&
      container.has(key(item))
    );
  return iterate(container).some((one) => equal(one, item));
}

function arithmetic(operator: string, a: Value, b: Value): Value {
  for (const one of [a, b]) if (one instanceof Undefined) one.fail();
  const [x, y] = [numeric(a), numeric(b)];
  if (x !== undefined && y !== undefined)
    return ofNumbers(operator, x, y, a instanceof Float || b instanceof Float);
  if (operator === '+') {
    if (a instanceof Marked || b instanceof Marked) return addMarked(a, b);
    if (typeof a === 'string' && typeof b === 'string') return limited(a + b);
    const [list, other] = [sequence(a), sequence(b)];
    if (list && other && a instanceof Tuple === b instanceof Tuple) {
      const all = expectFew([...list, ...other]);
      return a instanceof Tuple ? new Tuple(all) : all;
    }
  }
  if (operator === '%' && typeof a === 'string') {
    if (b instanceof Map) return printf(a, b);
    return printf(a, b instanceof Tuple ? b.items : [b]);
  }
  if (operator === '*') {
    const [count, other] = isCount(a) ? [a, b] : [b, a];
    if (isCount(count) && typeof other === 'string') return times(other, Number(count));
    if (isCount(count) && Array.isArray(other))
      return expectFew(
        Array.from(
          { length: Math.min(mostItems + 1, Math.max(0, Number(count))) },
          () => other,
        ).flat(),
      );
  }
  throw new Fault(`${operator} between a ${typeName(a)} and a ${typeName(b)}`);
}

const isCount = (value: Value): value is number | boolean =>
  typeof value === 'number' || typeof value === 'boolean';

const mostItems = 100_000;
function expectFew(items: Value[]): Value[] {
  if (items.length > mostItems) throw new Fault(`it makes a list of more than ${mostItems} items`);
  return items;
}

function addMarked(a: Value, b: Value): Marked {
  const parts = [a, b].map((one) => {
    if (one instanceof Marked) return one.text;
    if (typeof one === 'string') return escape(one);
    throw new Fault(`+ between a ${typeName(a)} and a ${typeName(b)}`);
  });
  return new Marked(limited(parts.join('')));
}

function ofNumbers(operator: string, x: number, y: number, isFloat: boolean): Value {
  const made = (value: number): Value => (isFloat ? new Float(value) : int(value));
  const divisor = (): number => {
    if (y === 0) throw new Fault(`${operator} by zero`);
    return y;
  };
  switch (operator) {
    case '+':
      return made(x + y);
    case '-':
      return made(x - y);
    case '*':
      return made(x * y);
    case '/':
      return new Float(x / divisor());
    case '//':
      return made(Math.floor(x / divisor()));
    case '%': {
      // The sign of the divisor, as Python has it.
      const rest = x % divisor();
      return made(rest !== 0 && rest < 0 !== y < 0 ? rest + y : rest);
    }
    case '**': {
      const value = x ** y;
      if (!Number.isFinite(value)) throw new Fault(`${x} ** ${y}`);
      return isFloat || y < 0 ? new Float(value) : int(value);
    }
    default:
      throw new Fault(`the operator ${operator}`);
  }
}

import { isLower, isUpper } from './text-methods.ts';
import { str } from './print.ts';
import { operate } from './operators.ts';
import {
  Callable,
  Fault,
  Float,
  isText,
  Lazy,
  Marked,
  numeric,
  sequence,
  truth,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

type Check = (value: Value, args: readonly Value[]) => boolean;

const rest = (value: Value, divisor: Value): number => {
  const left = operate('%', value, divisor);
  const number = numeric(left);
  if (number === undefined) throw new Fault(`the rest of a ${typeName(value)}`);
  return number;
};

const by =
  (operator: string): Check =>
  (value, [other]) =>
    truth(operate(operator, value, other));
const isInt = (value: Value): boolean => typeof value === 'number';
const isSequence = (value: Value): boolean =>
  isText(value) ||
  sequence(value) !== undefined ||
  value instanceof Map ||
  value instanceof Undefined;

/** Tests without an argument: `is NAME`. */
const plain: Readonly<Record<string, Check>> = {
  boolean: (value) => typeof value === 'boolean',
  // An undefined value can be called, to say that it is undefined.
  callable: (value) => value instanceof Callable || value instanceof Undefined,
  defined: (value) => !(value instanceof Undefined),
  undefined: (value) => value instanceof Undefined,
  escaped: (value) => value instanceof Marked,
  even: (value) => rest(value, 2) === 0,
  odd: (value) => rest(value, 2) === 1,
  false: (value) => value === false,
  true: (value) => value === true,
  none: (value) => value === null,
  float: (value) => value instanceof Float,
  integer: isInt,
  number: (value) => numeric(value) !== undefined,
  iterable: (value) => isSequence(value) || value instanceof Lazy,
  lower: (value) => isLower(str(value)),
  upper: (value) => isUpper(str(value)),
  mapping: (value) => value instanceof Map,
  sequence: (value) => isSequence(value) || (value instanceof Lazy && value.kind === 'range'),
  string: isText,
};

const compared: Readonly<Record<string, Check>> = {
  ...{ eq: by('=='), equalto: by('=='), '==': by('=='), ne: by('!='), '!=': by('!=') },
  ...{ lt: by('<'), lessthan: by('<'), '<': by('<'), le: by('<='), '<=': by('<=') },
  ...{ gt: by('>'), greaterthan: by('>'), '>': by('>'), ge: by('>='), '>=': by('>=') },
  in: by('in'),
  divisibleby: (value, [other]) => rest(value, other) === 0,
};

/** The answer of a test. Throws `Fault` for one that is not known or has other arguments. */
export function check(name: string, value: Value, args: readonly Value[] = []): boolean {
  const table = args.length === 0 ? plain : args.length === 1 ? compared : {};
  if (!Object.hasOwn(table, name))
    throw new Fault(`the test ${name} with ${args.length} arguments`);
  return table[name](value, args);
}

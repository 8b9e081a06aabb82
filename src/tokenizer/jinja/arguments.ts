import {
  type Arguments,
  Fault,
  isText,
  textOf,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

/**
 * Arguments by the names of parameters, of which the first `required` must be there. Throws `Fault` for what is missing or
 * unknown.
 */
export function bind<N extends string>(
  what: string,
  { positional, named }: Arguments,
  parameters: readonly N[],
  required = 0,
): Partial<Record<N, Value>> {
  if (positional.length > parameters.length)
    throw new Fault(`${what} with ${positional.length} arguments`);
  const bound: Partial<Record<N, Value>> = {};
  parameters.forEach((name, i) => {
    if (i < positional.length) bound[name] = positional[i];
  });
  for (const [name, value] of named) {
    const known = parameters.find((one) => one === name);
    if (known === undefined || known in bound) throw new Fault(`${what} with ${name}`);
    bound[known] = value;
  }
  const missing = parameters.slice(0, required).find((name) => !(name in bound));
  if (missing !== undefined) throw new Fault(`${what} without ${missing}`);
  return bound;
}

/** A text, or a `Fault`. */
export function expectText(what: string, value: Value): string {
  if (isText(value)) return textOf(value);
  if (value instanceof Undefined) return value.fail();
  throw new Fault(`${what} of a ${typeName(value)}`);
}

/** An int or bool, or a `Fault`. */
export function expectInt(what: string, value: Value): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean') return Number(value);
  if (value instanceof Undefined) return value.fail();
  throw new Fault(`${what} of a ${typeName(value)}`);
}

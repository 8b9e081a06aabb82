import {
  type Arguments,
  Attributes,
  Callable,
  Fault,
  iterate,
  key,
  Lazy,
  sequence,
  typeName,
  type Value,
} from './values.ts';

/** A name of a field that a template may set. */
export const expectOpen = (name: string): string => {
  if (name.startsWith('_')) throw new Fault(`the field ${name} of a namespace`);
  return name;
};

/** Functions every template has. */
export const globals = (mostNumbers: number): Readonly<Record<string, Callable>> => ({
  range: new Callable('range', ({ positional, named }) => {
    const numbers = positional.map((one) => {
      if (typeof one !== 'number' && typeof one !== 'boolean')
        throw new Fault(`range of a ${typeName(one)}`);
      return Number(one);
    });
    if (named.size || numbers.length < 1 || numbers.length > 3)
      throw new Fault('range with other arguments');
    const [from, to, step = 1] = numbers.length === 1 ? [0, numbers[0]] : numbers;
    if (step === 0) throw new Fault('range by 0');
    const count = Math.max(0, Math.ceil((to - from) / step));
    if (!(count <= mostNumbers)) throw new Fault(`range: more than ${mostNumbers} numbers`);
    const name = `range(${from}, ${to}${step === 1 ? '' : `, ${step}`})`;
    return new Lazy(
      'range',
      name,
      Array.from({ length: count }, (_, i) => from + i * step),
    );
  }),
  namespace: new Callable('namespace', (args) => {
    const fields = dictOf(args);
    for (const name of fields.keys()) expectOpen(String(name));
    return new Attributes(new Map([...fields].map(([name, value]) => [String(name), value])), true);
  }),
  dict: new Callable('dict', (args) => dictOf(args)),
});

function dictOf({ positional, named }: Arguments): Map<string | number | null, Value> {
  const [from, ...more] = positional;
  if (more.length) throw new Fault('dict of several');
  const entries =
    from instanceof Map
      ? [...from]
      : from === undefined
        ? []
        : iterate(from).map((pair) => {
            const both = sequence(pair);
            if (both?.length !== 2) throw new Fault('dict of what are no pairs');
            return [key(both[0]), both[1]] as const;
          });
  return new Map([...entries, ...named]);
}

import { operate } from './operators.ts';
import { Attributes, Callable, Fault, truth, Tuple, Undefined, type Value } from './values.ts';

/** Whether arguments are others than in the turn before: `loop.changed`, one for all turns of a loop. */
export function changes(): Callable {
  let last: readonly Value[] | undefined;
  return new Callable('changed', ({ positional }) => {
    const same = last !== undefined && truth(operate('==', new Tuple(last), new Tuple(positional)));
    last = positional;
    return !same;
  });
}

/** `loop` in turn `i` of a loop. */
export function loopOf(items: readonly Value[], i: number, changed: Callable): Attributes {
  const n = items.length;
  const beside = (at: number, what: string): Value =>
    items[at] ?? (at in items ? null : new Undefined(what));
  return new Attributes(
    new Map<string, Value>([
      ...([
        ['index', i + 1],
        ['index0', i],
        ['revindex', n - i],
        ['revindex0', n - i - 1],
      ] as const),
      ...([
        ['first', i === 0],
        ['last', i === n - 1],
        ['length', n],
      ] as const),
      ['previtem', beside(i - 1, 'what is before the first')],
      ['nextitem', beside(i + 1, 'what is after the last')],
      ['changed', changed],
      [
        'cycle',
        new Callable('cycle', ({ positional }) => {
          if (positional.length === 0) throw new Fault('cycle of nothing');
          return positional[i % positional.length];
        }),
      ],
    ]),
    false,
  );
}

import type { Op } from '../../op.ts';
import { activations } from '../../ops/activation.ts';
import { ops } from '../../ops/index.ts';
import { formatOf, quantizedTypes } from '../../tensor.ts';
import type { KernelNames, TypeNames } from './addon.ts';

/** What an addon was compiled for, by its own numbers: places in these lists are what a tape holds. */
export interface Vocabulary {
  readonly types: readonly TypeNames[];
  readonly kernels: readonly KernelNames[];
  readonly activations: readonly string[];
}

/** Element types that tapes name besides the quantized ones. */
const plainTypes = ['f32', 'f16', 'bf16', 'u8', 'i32', 'u32'] as const;

/**
 * Where an addon and this program speak of different things, one clause each: a type or activation that it
 * does not know, a type that it reads as another, an op whose operands or parameters it takes otherwise. Ops
 * without a kernel are no such thing: `Backend.refuses` answers for them.
 *
 *     disagreements({ …, kernels: [{ op: 'add', operands: ['b', 'a', 'y'], params: [] }] })
 *     // ['add takes the operands b, a, y; here they are a, b, y']
 */
export function disagreements(addon: Vocabulary): string[] {
  return [
    ...[...plainTypes, ...quantizedTypes]
      .filter((name) => !addon.types.some((type) => type.name === name))
      .map((name) => `it does not know the type ${name}`),
    ...quantizedTypes.flatMap((name) => otherFormat(name, addon.types)),
    ...activations
      .filter((name) => !addon.activations.includes(name))
      .map((name) => `it does not know the activation ${name}`),
    ...addon.kernels.flatMap((kernel) => otherOp(kernel)),
  ];
}

function otherFormat(
  name: (typeof quantizedTypes)[number],
  types: readonly TypeNames[],
): readonly string[] {
  const theirs = types.find((type) => type.name === name);
  const ours = formatOf(name);
  return (['bits', 'group', 'minima'] as const)
    .filter((key) => theirs && theirs[key] !== ours[key])
    .map((key) => `${name} has ${key} ${theirs![key]}; here ${ours[key]}`);
}

function otherOp({ op: name, operands, params }: KernelNames): string[] {
  const op: Op | undefined = ops.find((candidate) => candidate.name === name);
  if (!op) return [`it has a kernel for ${name}, which is no op`];
  return [
    ...otherNames(name, 'operands', operands, op.operands),
    ...otherNames(name, 'parameters', params, op.params),
  ];
}

function otherNames(
  op: string,
  what: string,
  snakes: readonly string[],
  ours: readonly string[],
): string[] {
  const theirs = snakes.map(camelCase).join(', ');
  const wanted = ours.join(', ');
  return theirs === wanted
    ? []
    : [`${op} takes the ${what} ${theirs || '(none)'}; here they are ${wanted || '(none)'}`];
}

/** C++ writes `sink_q` where TypeScript has `sinkQ`. */
const camelCase = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

import type { WeightSpec } from '../../model.ts';
import { formatOf, isQuantized, type QuantizedType, typeOfFormat } from '../../tensor.ts';
import type { WeightType } from '../convert.ts';
import type { Entry } from '../entry.ts';

/** How numbers lie along one axis of a tensor. Word and bit of an element are the sums of those of its axes. */
export interface Axis {
  readonly count: number;
  /** Words from one word to the next. */
  readonly stride: number;
  /** Where in a word each of the numbers lies that share it. Absent: it has a word of its own. */
  readonly order?: readonly number[];
}

/** Codes of `bits` in words of 32 bits, I32; or one in a byte, I8, in two's complement. */
export interface Plane {
  readonly entry: Entry;
  readonly outputs: Axis;
  /** Of the inputs; of zero points, of groups of them. */
  readonly inputs: Axis;
  /** Added to each word as a whole, carries included, before codes are taken out of it. */
  readonly added?: number;
}

/**
 * A matrix [outputs, inputs] in the terms all published forms share. Element (o, i) is
 * (code - zero point) · scale, both of output o and the group of input i. Codes have no sign: with one, they
 * and their zero points are raised by half their range.
 */
export interface PackedMatrix {
  readonly outputs: number;
  readonly inputs: number;
  readonly bits: 4 | 8;
  readonly codes: Plane;
  /** Inputs that share a scale. */
  readonly group: number;
  /** [inputs] the group of each, where groups are not of consecutive inputs (act-order). */
  readonly groupOf?: Int32Array;
  /** F16, BF16 or F32; elements from one output and from one group to the next. */
  readonly scales: { readonly entry: Entry; readonly output: number; readonly group: number };
  /** `plus` is added to what is stored. Absent: all lie in the middle. */
  readonly zeros?: Plane & { readonly plus: 0 | 1 };
  /** Zero points lie in the middle of the codes, so none needs to be kept. */
  readonly symmetric: boolean;
}

/** A tensor of a file that is packed: it stands for the `.weight` of its module. */
export type PackedEntry = Entry & { readonly packed: PackedMatrix };

/** Groups of inputs. */
export const groupsOf = ({ inputs, group }: Pick<PackedMatrix, 'inputs' | 'group'>): number =>
  Math.ceil(inputs / group);

/** The code that stands for 0 where there are no zero points. */
export const middle = ({ bits }: Pick<PackedMatrix, 'bits'>): number => 1 << (bits - 1);

/** Whether rows of a type hold a matrix code by code, one row an output. */
function holds(packed: PackedMatrix, dtype: WeightType): dtype is QuantizedType {
  if (!isQuantized(dtype) || packed.groupOf) return false;
  const { bits, group, minima } = formatOf(dtype);
  const together = packed.group % group === 0 || packed.group >= packed.inputs;
  // With 8 bits of ours, zero points are taken off the codes.
  const fits = bits === 8 ? packed.bits === 4 || packed.symmetric : packed.bits === bits;
  return together && fits && (packed.symmetric || minima || bits === 8);
}

/** Whether a weight of ours takes the codes of a packed matrix as they are. */
export const takesCodes = (
  spec: WeightSpec,
  packed: PackedMatrix,
  dtype: WeightType,
): dtype is QuantizedType => !spec.byInputs && holds(packed, dtype);

/** What a packed matrix is kept as in memory, and why it is rounded anew for that, where it is. */
export interface Kept {
  readonly dtype: QuantizedType;
  readonly rounded?: string;
}

/** The type of ours that holds a packed matrix: with its own codes where there is one, else int8. */
export function keptAs(spec: WeightSpec, packed: PackedMatrix): Kept {
  const { bits, inputs, group, symmetric } = packed;
  const rounded = (why: string): Kept => ({ dtype: 'int8', rounded: why });
  if (spec.byInputs)
    return rounded('one row an input here, and a scale of the file is for several inputs');
  if (packed.groupOf) return rounded('its groups are not of consecutive inputs (act-order)');
  const sizes = [128, 64, 32] as const;
  const ours = sizes.find((size) => group % size === 0) ?? (group >= inputs ? 128 : undefined);
  if (ours === undefined) return rounded(`its groups have ${group} inputs, no multiple of 32`);
  if (bits === 4) return { dtype: typeOfFormat({ bits, group: ours, minima: !symmetric })! };
  if (!symmetric) return rounded('codes of 8 bits less their zero points have 9');
  return { dtype: 'int8' };
}

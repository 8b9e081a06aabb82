import * as z from 'zod/mini';
import { EngineError } from '../../errors.ts';
import type { Entry } from '../entry.ts';
import {
  apart,
  groupOf,
  groupsSay,
  inWords,
  type Members,
  misshapen,
  type PackedForm,
  parseScheme,
  readOrder,
  scaleTypes,
  wordsOf,
} from './form.ts';
import { groupsOf, type PackedMatrix } from './matrix.ts';

const plain = z.optional(z.null('is set: what it rounds while computing is not rounded here'));

const weights = z.object({
  num_bits: z.union([z.literal(4), z.literal(8)], 'is neither 4 nor 8'),
  type: z.literal('int', 'is not int'),
  symmetric: z._default(z.boolean(), true),
  strategy: z.enum(['group', 'channel', 'tensor'], 'is not group, channel or tensor'),
  group_size: z.nullish(z.int()),
  // `weight` and `static` order the rounding alone; what is written is as without.
  actorder: z.nullish(
    z.union(
      [z.boolean(), z.enum(['group', 'dynamic', 'weight', 'static'])],
      'is not group, dynamic, weight or static',
    ),
  ),
});

const nothing = (says: string) =>
  z.nullish(
    z.record(z.string(), z.unknown()).check(z.refine((o) => Object.keys(o).length === 0, says)),
  );

const schema = z.object({
  format: z.enum(
    ['pack-quantized', 'int-quantized'],
    'is neither pack-quantized nor int-quantized',
  ),
  quantization_status: z._default(z.literal('compressed', 'is not compressed'), 'compressed'),
  config_groups: z
    .record(
      z.string(),
      z.object({
        weights,
        input_activations: plain,
        output_activations: plain,
        format: z.nullish(
          z.enum(
            ['pack-quantized', 'int-quantized'],
            'is neither pack-quantized nor int-quantized',
          ),
        ),
      }),
    )
    .check(z.refine((groups) => Object.keys(groups).length > 0, 'has no group')),
  kv_cache_scheme: plain,
  sparsity_config: z.nullish(
    z.object({
      format: z._default(z.literal('dense', 'is not dense: sparse layouts are not read'), 'dense'),
    }),
  ),
  transform_config: nothing('is set: weights are turned by matrices that are not read'),
});

/** How the matrices of a group are packed. */
interface Variant {
  readonly packed: boolean;
  readonly bits: 4 | 8;
  readonly symmetric: boolean;
  /** Inputs of a group; -1: a scale a row; 0: one for all. */
  readonly size: number;
  readonly ordered: boolean;
}

/**
 * compressed-tensors, as LLM Compressor writes it: `weight_packed` (or `weight`, bytes) [outputs, inputs],
 * `weight_scale` and `weight_zero_point` [outputs, groups]. Modules of several groups of config.json are told apart by
 * their tensors.
 * https://github.com/vllm-project/compressed-tensors
 */
export const compressedTensors: PackedForm = {
  name: 'compressed-tensors',
  summary:
    'LLM Compressor, weights alone rounded: `pack-quantized` of 4 and 8 bits, `int-quantized` of 8; by group (act-order too), channel or tensor',

  scheme(config) {
    const { format, config_groups: groups } = parseScheme(schema, config);
    const variants = Object.values(groups).map(({ weights, format: own }): Variant => {
      const { num_bits: bits, symmetric, strategy, group_size: size, actorder } = weights;
      return {
        ...{ packed: (own ?? format) === 'pack-quantized', bits, symmetric },
        size: strategy === 'group' ? (size ?? -1) : strategy === 'channel' ? -1 : 0,
        ordered: actorder === true || actorder === 'group' || actorder === 'dynamic',
      };
    });
    return {
      says: [...new Set(variants.map(saysOf))].join('; '),
      mark: '.weight_scale',
      endings: [
        '.weight',
        '.weight_packed',
        '.weight_scale',
        '.weight_zero_point',
        '.weight_g_idx',
        '.weight_shape',
      ],
      matrix: (members) => matrixOf(members, variants),
    };
  },
};

const saysOf = ({ bits, size, symmetric, ordered }: Variant): string =>
  [
    `${bits} bits`,
    size === 0 ? 'one scale a matrix' : groupsSay(size),
    ...(symmetric ? [] : ['zero points']),
    ...(ordered ? ['act-order'] : []),
  ].join(', ');

async function matrixOf(members: Members, variants: readonly Variant[]): Promise<PackedMatrix> {
  const entry = members.find('.weight_packed') ?? members.get('.weight', ['I8'], 2);
  const packed = entry.name.endsWith('_packed');
  const [outputs, inputs] = packed ? await shapeOf(members, entry) : entry.shape;
  const scale = members.find('.weight_scale')!;
  const zero = members.find('.weight_zero_point');
  const fits = variants.filter(
    (variant) =>
      variant.packed === packed &&
      (packed ? ['I32'] : ['I8']).includes(entry.type) &&
      entry.shape.join() === [outputs, packed ? wordsOf(inputs, variant.bits) : inputs].join() &&
      (packed || variant.bits === 8) &&
      scaleShapes(variant, outputs, inputs).includes(scale.shape.join()) &&
      (variant.symmetric || zero !== undefined),
  );
  // Where several fit, the one that reads zero points.
  const variant = fits.find(({ symmetric }) => !symmetric) ?? fits[0];
  if (!variant || !(scaleTypes as readonly string[]).includes(scale.type))
    throw misshapen(scale, `tensors of ${variants.map(saysOf).join(' or ')}`);
  const { bits, size, symmetric, ordered } = variant;
  const group = groupOf(size || -1, inputs);
  const groups = groupsOf({ inputs, group });
  const order = ordered ? await orderOf(members, inputs, group) : undefined;
  const width = wordsOf(inputs, bits);
  return {
    ...{ outputs, inputs, bits, group, symmetric },
    ...(order && { groupOf: order }),
    codes: packed
      ? { entry, outputs: apart(outputs, width), inputs: inWords(inputs, bits, 1) }
      : { entry, outputs: apart(outputs, inputs), inputs: apart(inputs, 1) },
    scales: { entry: scale, output: size === 0 ? 0 : groups, group: size === 0 ? 0 : 1 },
    ...(zero && { zeros: { ...zerosOf(zero, outputs, groups, variant), plus: 0 } }),
  };
}

/** weight_shape: [outputs, inputs], which packing pads. */
async function shapeOf(members: Members, packed: Entry): Promise<readonly number[]> {
  const { type, source, offset, bytes } = members.shaped('.weight_shape', ['I64', 'I32'], [2]);
  const { buffer } = await source.read(offset, bytes);
  const shape =
    type === 'I64' ? Array.from(new BigInt64Array(buffer), Number) : [...new Int32Array(buffer)];
  const [outputs, inputs] = shape;
  // Bounded by what lies in the file before anything is made of it: at least one bit a code.
  if (
    packed.shape.length === 2 &&
    outputs === packed.shape[0] &&
    inputs > 0 &&
    inputs <= 32 * packed.shape[1]
  )
    return shape;
  throw misshapen(packed, `rows of a matrix [${shape}], which its weight_shape says it is`);
}

/** Shapes that scales may have. */
function scaleShapes({ size }: Variant, outputs: number, inputs: number): string[] {
  if (size === 0) return ['1', ''];
  return [`${outputs},${groupsOf({ inputs, group: groupOf(size, inputs) })}`];
}

/** Packed along outputs, or, as older versions and bytes have it, one a byte. */
function zerosOf(
  entry: Entry,
  outputs: number,
  groups: number,
  { bits, size }: Variant,
): Omit<NonNullable<PackedMatrix['zeros']>, 'plus'> {
  const is = `${entry.type} ${entry.shape.join()}`;
  if (size === 0 && (is === 'I8 1' || is === 'I8 '))
    return { entry, outputs: apart(outputs, 0), inputs: apart(groups, 0) };
  if (is === `I32 ${wordsOf(outputs, bits)},${groups}`)
    return { entry, outputs: inWords(outputs, bits, groups), inputs: apart(groups, 1) };
  if (is === `I8 ${outputs},${groups}`)
    return { entry, outputs: apart(outputs, groups), inputs: apart(groups, 1) };
  throw misshapen(entry, `I32 [${wordsOf(outputs, bits)},${groups}] or I8 [${outputs},${groups}]`);
}

/** -1 throughout stands for consecutive groups; groups of other sizes are read by nobody alike. */
async function orderOf(
  members: Members,
  inputs: number,
  group: number,
): Promise<Int32Array | undefined> {
  const entry = members.find('.weight_g_idx');
  if (!entry) return undefined;
  const { source, offset, bytes } = members.shaped('.weight_g_idx', ['I32'], [inputs]);
  const stored = new Int32Array((await source.read(offset, bytes)).buffer);
  if (stored.every((g) => g === -1)) return undefined;
  const order = await readOrder(entry, group);
  const counts = new Int32Array(Math.ceil(inputs / group));
  for (const g of order ?? []) counts[g]++;
  const wrong = order ? counts.findIndex((n) => n !== group) : -1;
  if (wrong < 0) return order;
  throw new EngineError(
    'BAD_CHECKPOINT',
    `${source.name}, ${entry.name}: group ${wrong} has ${counts[wrong]} inputs; expected ${group}; fetch the model again`,
  );
}

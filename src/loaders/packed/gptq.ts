import * as z from 'zod/mini';
import {
  apart,
  groupOf,
  groupSize,
  groupsSay,
  inWords,
  type Members,
  type PackedForm,
  parseScheme,
  readOrder,
  refused,
  scaleTypes,
  wordsOf,
} from './form.ts';
import { groupsOf, type PackedMatrix } from './matrix.ts';

const version = z.enum(['gptq', 'gptq_v2'], 'is neither gptq nor gptq_v2');
const plain = z.optional(z.null('is not read'));
const quantizers = z.pipe(
  z.union([z.string(), z.array(z.string())]),
  z.transform((names) => [names].flat()),
);

const schema = z.object({
  bits: z.union([z.literal(4), z.literal(8)], 'is neither 4 nor 8'),
  group_size: groupSize,
  desc_act: z._default(z.boolean(), false),
  sym: z._default(z.boolean(), true),
  checkpoint_format: z.nullish(version),
  format: z.nullish(version),
  pack_dtype: z.nullish(z.literal('int32', 'is not int32')),
  is_marlin_format: z.nullish(z.literal(false, 'Marlin layouts are not read')),
  dynamic: z.nullish(z.record(z.string(), z.unknown())),
  adapter: plain,
  rotation: plain,
  meta: z.nullish(z.object({ quantizer: z.nullish(quantizers), rotation: plain })),
});

/**
 * GPTQ as AutoGPTQ and GPTQModel write it: `qweight` packed along inputs, `qzeros` along outputs, `g_idx` the
 * group of each input. Version 1 stores zero points less one: GPTQModel takes ones off whole words, borrows included, and adds them
 * again; of others a zero point that was 0 is read by nobody alike.
 * https://github.com/ModelCloud/GPTQModel
 */
export const gptq: PackedForm = {
  name: 'gptq',
  summary:
    'AutoGPTQ, GPTQModel, both versions: 4 and 8 bits, any group, act-order, symmetric or not',

  scheme(config) {
    const {
      bits,
      group_size: size,
      desc_act: ordered,
      sym,
      checkpoint_format: stored,
      format = stored ?? 'gptq',
      dynamic,
      meta,
    } = parseScheme(schema, config);
    // Patterns with a minus name modules that are left plain; others give modules settings of their own.
    const own = Object.keys(dynamic ?? {}).find((pattern) => !pattern.startsWith('-:'));
    if (own !== undefined)
      throw refused(
        `dynamic: gives ${JSON.stringify(own)} settings of its own`,
        'the same for all modules',
      );
    const whole = (meta?.quantizer ?? []).some((name) => name.startsWith('gptqmodel:'));
    const ones = format === 'gptq_v2' ? 'none' : whole ? 'words' : 'codes';
    return {
      says: [
        `${bits} bits`,
        groupsSay(size),
        ...(sym ? [] : ['zero points']),
        ...(ordered ? ['act-order'] : []),
      ].join(', '),
      mark: '.qweight',
      endings: ['.qweight', '.qzeros', '.scales', '.g_idx'],
      matrix: (members) => matrixOf(members, { bits, size, ordered, sym, ones }),
    };
  },
};

/** What version 1 took off zero points: nothing, one of each, or ones of words as numbers. */
type Ones = 'none' | 'codes' | 'words';

/** A one in each code of a word. */
const eachOne = { 4: 0x11111111, 8: 0x01010101 } as const;

async function matrixOf(
  members: Members,
  {
    bits,
    size,
    ordered,
    sym,
    ones,
  }: { bits: 4 | 8; size: number; ordered: boolean; sym: boolean; ones: Ones },
): Promise<PackedMatrix> {
  const qweight = members.get('.qweight', ['I32'], 2);
  const [words, outputs] = qweight.shape;
  const inputs = (words * 32) / bits;
  const group = groupOf(size, inputs);
  const groups = groupsOf({ inputs, group });
  const width = wordsOf(outputs, bits);
  const scales = members.shaped('.scales', scaleTypes, [groups, outputs]);
  const qzeros = members.shaped('.qzeros', ['I32'], [groups, width]);
  const needed = ordered && group < inputs;
  const order =
    needed || members.find('.g_idx') ? members.shaped('.g_idx', ['I32'], [inputs]) : undefined;
  const more = {
    plus: ones === 'codes' ? 1 : 0,
    ...(ones === 'words' && { added: eachOne[bits] }),
  } as const;
  const own = order && (await readOrder(order, group));
  return {
    ...{ outputs, inputs, bits, group, symmetric: sym },
    ...(own && { groupOf: own }),
    codes: { entry: qweight, outputs: apart(outputs, 1), inputs: inWords(inputs, bits, outputs) },
    scales: { entry: scales, output: 1, group: outputs },
    zeros: {
      entry: qzeros,
      outputs: inWords(outputs, bits, 1),
      inputs: apart(groups, width),
      ...more,
    },
  };
}

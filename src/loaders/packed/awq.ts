import * as z from 'zod/mini';
import {
  apart,
  groupOf,
  groupSize,
  groupsSay,
  type Members,
  type PackedForm,
  parseScheme,
  scaleTypes,
  wordsOf,
} from './form.ts';
import { groupsOf, type PackedMatrix } from './matrix.ts';

const version = z.pipe(
  z.string(),
  z.transform((name) => name.toLowerCase()),
);

const schema = z.object({
  bits: z.literal(4, 'is not 4'),
  group_size: groupSize,
  zero_point: z._default(z.literal(true, 'codes without zero points are not read'), true),
  version: z._default(
    z.pipe(version, z.literal('gemm', 'is not gemm: other layouts are not read')),
    'gemm',
  ),
  format: z.nullish(z.literal('gemm', 'is not gemm: other layouts are not read')),
  backend: z.nullish(z.literal('autoawq', 'is not autoawq: other layouts are not read')),
});

/** Where in a word each of eight outputs lies. */
const order = [0, 4, 1, 5, 2, 6, 3, 7];

/**
 * AWQ (arXiv 2306.00978) as AutoAWQ writes it, version gemm: `qweight` and `qzeros` packed along outputs, of
 * which the words hold 0, 2, 4, 6, 1, 3, 5, 7.
 * https://github.com/casper-hansen/AutoAWQ
 */
export const awq: PackedForm = {
  name: 'awq',
  summary: 'AutoAWQ, version gemm: 4 bits with zero points, any group',

  scheme(config) {
    const { bits, group_size: size } = parseScheme(schema, config);
    return {
      says: `${bits} bits, ${groupsSay(size)}, zero points`,
      mark: '.qweight',
      endings: ['.qweight', '.qzeros', '.scales'],
      matrix: (members) => Promise.resolve(matrixOf(members, size)),
    };
  },
};

function matrixOf(members: Members, size: number): PackedMatrix {
  const scale = members.get('.scales', scaleTypes, 2);
  const outputs = scale.shape[1];
  const width = wordsOf(outputs, 4);
  const inputs = members.get('.qweight', ['I32'], 2).shape[0];
  const qweight = members.shaped('.qweight', ['I32'], [inputs, width]);
  const group = groupOf(size, inputs);
  const groups = groupsOf({ inputs, group });
  const scales = members.shaped('.scales', scaleTypes, [groups, outputs]);
  const qzeros = members.shaped('.qzeros', ['I32'], [groups, width]);
  const packed = { count: outputs, stride: 1, order };
  return {
    ...{ outputs, inputs, bits: 4, group, symmetric: false },
    codes: { entry: qweight, outputs: packed, inputs: apart(inputs, width) },
    scales: { entry: scales, output: 1, group: outputs },
    zeros: { entry: qzeros, outputs: packed, inputs: apart(groups, width), plus: 0 },
  };
}

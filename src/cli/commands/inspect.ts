import { describeFields } from '../../engine/defaults.ts';
import type { Inspection } from '../../engine/inspect.ts';
import { inspect } from '../../engine/local.ts';
import { command } from '../command.ts';
import { bytes, facts, percent } from '../layout.ts';
import { describeDefaults } from '../open.ts';

export const inspectCommand = command({
  name: 'inspect',
  summary: 'what a model is, and what predictor it has',
  model: 'required',
  flags: {},
  async run({ model }) {
    const result = await inspect(model!);
    return { result, text: describe(result) };
  },
});

const kept = { codes: 'code by code', values: 'decoded', rounded: 'rounded anew' } as const;

function packingOf({ packing }: Inspection): (readonly [string, string])[] {
  if (!packing) return [];
  return [
    ['packed', `${packing.form}, ${packing.scheme}`],
    ...packing.keeping.map(({ dtype, how, because, matrices }): readonly [string, string] => [
      `  ${kept[how]}`,
      `${matrices.join(', ')} as ${dtype}${because === undefined ? '' : `: ${because}`}`,
    ]),
  ];
}

function describe(found: Inspection): string {
  const { predictor, defaults, endIds } = found;
  return facts([
    ['family', found.family],
    ['layers', String(found.layers)],
    ['heads', `${found.heads}, ${found.kvHeads} of keys and values, size ${found.headDim}`],
    ['hidden size', String(found.hiddenSize)],
    ['neurons', `${found.neurons} a layer, ${found.activation}${found.gated ? ', gated' : ''}`],
    ['vocabulary', String(found.vocabulary)],
    ['context', String(found.context)],
    ['end ids', endIds.join(', ') || 'none'],
    ['parameters', `${(found.parameters / 1e6).toFixed(2)} M`],
    ['weights', bytes(found.weightBytes)],
    ...packingOf(found),
    ['defaults', describeDefaults(defaults) ?? 'none of its own'],
    ...(Object.keys(defaults.notApplied).length
      ? [['not applied', describeFields(defaults.notApplied)] as const]
      : []),
    ...(predictor
      ? [
          [
            'predictor',
            `${predictor.file}, ${bytes(predictor.weightBytes)}` +
              (predictor.matches ? '' : ', made for other weights'),
          ] as const,
          ...predictor.points.map(
            ({ maxLoss, neurons, heads }) =>
              [
                `  within ${percent(maxLoss, 2)}`,
                `neurons ${percent(neurons)}, heads ${percent(heads)}`,
              ] as const,
          ),
        ]
      : [['predictor', 'none'] as const]),
  ]);
}

import { storedWeights } from '../loaders/checkpoint.ts';
import { isCheckpoint } from '../loaders/identity.ts';
import { openCheckpoint } from '../loaders/open.ts';
import { filesOf, whereIs, predictorName } from '../loaders/names.ts';
import { type Keeping, keepingOf } from '../loaders/packed/keeping.ts';
import { readPredictor } from '../loaders/predictor.ts';
import type { GenerationDefaults } from '../loaders/generation.ts';
import type { Description } from '../model.ts';
import type { Provenance } from '../predictor.ts';
import type { Folder, ModelFiles } from '../source.ts';
import { size } from '../tensor.ts';

/** What a model is. */
export interface Inspection extends Description {
  /** The name or path it was asked by. */
  readonly model: string;
  /** Tied weights count once. */
  readonly parameters: number;
  /** As the files store them. */
  readonly weightBytes: number;
  /** How its matrices are packed by GPTQ, AWQ or compressed-tensors, and what they are kept as by default. */
  readonly packing?: {
    readonly form: string;
    /** Bits, groups. */
    readonly scheme: string;
    readonly keeping: readonly Keeping[];
  };
  /** How its texts are generated where nothing else is asked for. */
  readonly defaults: GenerationDefaults;
  /** The predictor beside the model. */
  readonly predictor?: {
    readonly file: string;
    /** It was made for these very weights, or for those they were quantized from. */
    readonly matches: boolean;
    /** Matrices and biases. */
    readonly weightBytes: number;
    /** What it was calibrated for, and the mean shares it then selects. */
    readonly points: readonly {
      readonly maxLoss: number;
      readonly loss: number;
      readonly neurons: number;
      readonly heads: number;
    }[];
    readonly provenance: Provenance;
  };
}

/**
 * What a model is, from its files' headers. Weights are read only to compare their hash with that of a
 * predictor beside them. Throws `FILE_NOT_FOUND`, `BAD_CHECKPOINT`, `BAD_CONFIG`, `UNKNOWN_FAMILY`, `BAD_PREDICTOR`.
 *
 *     const { parameters, layers } = await inspect(httpFolder('https://example.org/m/', ['config.json', 'model.safetensors']));
 */
export async function inspect(model: Folder | ModelFiles): Promise<Inspection> {
  const given = filesOf(model);
  await using opened = await openCheckpoint(given);
  const { family, config, description, defaults, json, files, packing } = opened;
  let parameters = 0;
  let weightBytes = 0;
  const found = storedWeights(whereIs(given), json, family.weights(config), files);
  for (const { spec, bytes } of found.values()) {
    parameters += size(spec.shape);
    weightBytes += bytes;
  }
  const predictor = await inspectPredictor(given, description);
  return {
    model: given.name,
    ...description,
    parameters,
    weightBytes,
    ...(packing && {
      packing: { form: packing.form, scheme: packing.scheme.says, keeping: keepingOf(found) },
    }),
    defaults,
    ...(predictor && { predictor }),
  };
}

async function inspectPredictor(
  model: ModelFiles,
  description: Description,
): Promise<Inspection['predictor']> {
  const { folder, gguf } = model;
  const name = predictorName(gguf);
  if (!folder.files.includes(name)) return undefined;
  await using source = await folder.open(name);
  const { layers, points, provenance } = await readPredictor(source, description);
  const nets = layers.flatMap(({ neurons, heads }) => [neurons, heads]);
  const mean = (shares: readonly number[]): number =>
    shares.reduce((a, b) => a + b, 0) / shares.length;
  return {
    file: source.name,
    matches: await isCheckpoint(model, provenance),
    weightBytes: nets
      .flatMap((net) => (net ? [net.down, net.downBias, net.up, net.upBias] : []))
      .reduce((sum, { bytes }) => sum + bytes.length, 0),
    points: points.map(({ maxLoss, loss, densities }) => ({
      maxLoss,
      loss,
      neurons: mean(densities.map(({ neurons }) => neurons)),
      heads: mean(densities.map(({ heads }) => heads)),
    })),
    provenance,
  };
}

import * as z from 'zod/mini';
import { EngineError } from '../errors.ts';
import { f32, hostTensor } from '../rows.ts';
import type { Description } from '../model.ts';
import type { HostTensor } from '../op.ts';
import { type PredictorFile, predictorTypes, type SitePredictor, siteType } from '../predictor.ts';
import { checked } from '../schema.ts';
import type { Site } from '../selector.ts';
import type { Source } from '../source.ts';
import { byteLength, rowBytes } from '../tensor.ts';
import { encodeTensors, readTensors } from './safetensors.ts';

/**
 * The predictor file: safetensors, one set of tensors `layers.L.SITE.*` for each predictor, and all else
 * as JSON in the header's metadata. Matrices are quantized rows as the engine keeps them (tensor.ts),
 * stored as U8 [rows, bytes of a row]; biases and usage are F32.
 */
const formatName = 'dejavu-predictor';
const formatVersion = '1';

const sites: readonly Site[] = ['neurons', 'heads'];
const share = z.number().check(z.minimum(0), z.maximum(1));
const site = <T extends z.ZodMiniType>(value: T) => z.object({ neurons: value, heads: value });

const provenance = z.object({
  modelHash: z.string(),
  modelSample: z.optional(z.string()),
  family: z.string(),
  textHash: z.string(),
  tokens: z.int().check(z.nonnegative()),
  heldOutTokens: z.int().check(z.nonnegative()),
  seed: z.int().check(z.nonnegative()),
  rank: z.int().check(z.positive()),
  ranks: z.array(z.int().check(z.positive())),
  type: z.enum(predictorTypes),
  steps: z.int().check(z.nonnegative()),
  batch: z.int().check(z.positive()),
});
const curve = z.array(
  z.object({
    threshold: z.number(),
    recall: share,
    precision: share,
    density: share,
    kept: share,
  }),
);
const points = z.array(
  z.object({
    maxLoss: z.number().check(z.nonnegative()),
    loss: z.number(),
    thresholds: z.array(
      z.pipe(
        z.object({ neurons: z.optional(z.number()), heads: z.optional(z.number()) }),
        z.transform((t) => ({
          neurons: t.neurons,
          heads: t.heads,
        })),
      ),
    ),
    densities: z.array(site(share)),
    unions: z.optional(
      z.array(z.object({ rows: z.int().check(z.minimum(2)), neurons: z.array(share) })),
    ),
  }),
);
const curves = z.array(z.object({ neurons: z.optional(curve), heads: z.optional(curve) }));

/** The bytes of a predictor file, part by part. */
export function encodePredictor(file: PredictorFile): Iterable<Uint8Array> {
  const tensors = new Map<string, HostTensor>();
  file.layers.forEach((layer, l) => {
    for (const name of sites) {
      const predictor = layer[name];
      if (!predictor) continue;
      const prefix = `layers.${l}.${name}`;
      tensors.set(`${prefix}.down`, asBytes(predictor.down));
      tensors.set(`${prefix}.down.bias`, predictor.downBias);
      tensors.set(`${prefix}.up`, asBytes(predictor.up));
      tensors.set(`${prefix}.up.bias`, predictor.upBias);
      const usage = hostTensor('f32', [predictor.usage.length]);
      f32(usage).set(predictor.usage);
      tensors.set(`${prefix}.usage`, usage);
    }
  });
  return encodeTensors(tensors, {
    format: formatName,
    version: formatVersion,
    provenance: JSON.stringify(file.provenance),
    points: JSON.stringify(file.points),
    curves: JSON.stringify(
      file.layers.map(({ neurons, heads }) => ({ neurons: neurons?.curve, heads: heads?.curve })),
    ),
  });
}

/**
 * Read and check a predictor file against the model it is for. Throws `BAD_CHECKPOINT` for a broken
 * container and `BAD_PREDICTOR` for what does not fit. The source stays the caller's.
 */
export async function readPredictor(source: Source, model: Description): Promise<PredictorFile> {
  const { tensors, metadata } = await readTensors(source);
  const refuse = (found: string, expected: string): EngineError =>
    new EngineError(
      'BAD_PREDICTOR',
      `${source.name}: ${found}, expected ${expected}; train a predictor for this model with \`train\``,
    );
  if (metadata.format !== formatName || metadata.version !== formatVersion)
    throw refuse(
      `format ${metadata.format ?? 'unnamed'} version ${metadata.version ?? 'none'}`,
      `${formatName} version ${formatVersion}`,
    );

  const parse = <T extends z.ZodMiniType>(key: string, schema: T): z.infer<T> => {
    let json: unknown;
    try {
      json = JSON.parse(metadata[key] ?? '');
    } catch {
      throw refuse(`metadata.${key} is not JSON`, 'JSON');
    }
    const result = checked(schema, json);
    if (result.success) return result.data;
    const [issue] = result.error.issues;
    throw refuse(`metadata.${key}.${issue.path.join('.')}: ${issue.message}`, 'a complete record');
  };
  const about = parse('provenance', provenance);
  const allCurves = parse('curves', curves);
  const allPoints = parse('points', points);
  const counts = [
    allCurves,
    ...allPoints.flatMap(({ thresholds, densities, unions = [] }) => [
      thresholds,
      densities,
      ...unions.map(({ neurons }) => neurons),
    ]),
  ];
  if (counts.some(({ length }) => length !== model.layers))
    throw refuse(`a predictor of ${allCurves.length} layers`, `${model.layers} layers`);

  const get = (name: string, shape: readonly number[], dtype: 'f32' | 'u8'): HostTensor => {
    const tensor = tensors.get(name);
    if (!tensor) throw refuse(`tensor ${name} is missing`, `${dtype} [${shape}]`);
    if (tensor.dtype !== dtype || tensor.shape.join() !== shape.join())
      throw refuse(`${name} is ${tensor.dtype} [${tensor.shape}]`, `${dtype} [${shape}]`);
    return tensor;
  };
  const layers = allCurves.map((layerCurves, l) => {
    const read = (name: Site): SitePredictor | undefined => {
      const siteCurve = layerCurves[name];
      if (!siteCurve) return undefined;
      const prefix = `layers.${l}.${name}`;
      const units = name === 'heads' ? model.heads : model.neurons;
      const rank = tensors.get(`${prefix}.down`)?.shape[0] ?? 0;
      const dtype = siteType(about.type, name);
      const matrix = (part: string, rows: number, columns: number): HostTensor => ({
        dtype,
        shape: [rows, columns],
        bytes: get(`${prefix}.${part}`, [rows, rowBytes(dtype, columns)], 'u8').bytes,
      });
      return {
        down: matrix('down', rank, model.hiddenSize),
        downBias: get(`${prefix}.down.bias`, [rank], 'f32'),
        up: matrix('up', units, rank),
        upBias: get(`${prefix}.up.bias`, [units], 'f32'),
        usage: f32(get(`${prefix}.usage`, [units], 'f32')),
        curve: siteCurve,
      };
    };
    return { neurons: read('neurons'), heads: read('heads') };
  });
  return { provenance: about, layers, points: allPoints };
}

/** The bytes of a quantized matrix, as a plain tensor that safetensors can name. */
function asBytes(matrix: HostTensor): HostTensor {
  const [rows, columns] = matrix.shape;
  const shape = [rows, rowBytes(matrix.dtype, columns)];
  return { dtype: 'u8', shape, bytes: matrix.bytes.subarray(0, byteLength('u8', shape)) };
}

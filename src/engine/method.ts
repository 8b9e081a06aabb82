import type { Backend } from '../backend.ts';
import { EngineError } from '../errors.ts';
import { matricesOf, matrixName } from '../model.ts';
import type { HostTensor } from '../op.ts';
import type { LowRankNet, OperatingPoint, Predictor, PredictorFile } from '../predictor.ts';
import { methods } from '../sparsity/index.ts';
import type { Site } from '../selector.ts';
import { type Method, type Sparsity, unionShare } from '../sparsity.ts';
import type { Tensor } from '../tensor.ts';
import type { Model } from './step.ts';

/** What a sparsity method may be told. */
export interface MethodOptions {
  /** Fixed share of neurons to compute in every layer, in place of calibrated thresholds. */
  readonly neurons?: number;
  /** The same for heads. */
  readonly heads?: number;
  /** Operating point: growth of perplexity to stay within. Default 0.01. Not beside `recall`. */
  readonly maxLoss?: number;
  /** Operating point: share of the truly active neurons to select in each layer. Not beside `maxLoss`. */
  readonly recall?: number;
  /** For `random`. Default 0. */
  readonly seed?: number;
}

/** The default loss budget: one percent. */
export const defaultMaxLoss = 0.01;

/** Find a method by name; one that is given is itself. Throws `BAD_REQUEST`. */
export function findMethod(name: string | Method): Method {
  if (typeof name !== 'string') return name;
  const method = methods.find((m) => m.name === name);
  if (method) return method;
  const known = methods.map((m) => m.name).join(', ');
  throw new EngineError(
    'BAD_REQUEST',
    `sparsity: there is no method "${name}"; choose of ${known}`,
  );
}

/** Throws `BAD_REQUEST` for options that the method has no use for, or that exclude each other. */
export function expectUsed(
  method: Method,
  options: MethodOptions & { readonly predictor?: unknown },
): void {
  const names = { predictor: 0, recall: 0, maxLoss: 0, neurons: 0, heads: 0 };
  const given = (Object.keys(names) as (keyof typeof names)[]).filter(
    (name) => options[name] !== undefined,
  );
  if (method.needs === 'nothing' && given.length)
    throw new EngineError(
      'BAD_REQUEST',
      `\`sparsity\` ${method.name}: ${given.map((name) => `\`${name}\``).join(', ')} given, which it does not use; leave out, or choose another method`,
    );
  if (options.recall !== undefined && options.maxLoss !== undefined)
    throw new EngineError(
      'BAD_REQUEST',
      'sparsity: `recall` and `maxLoss` are given, expected at most one operating point; leave one out',
    );
}

/** Throws `BAD_REQUEST` where a method selects inputs of matrices that do not lie by inputs. */
function expectLaidOut(
  { name, inputs = [] }: Method,
  { description, weights }: Pick<Model, 'description' | 'weights'>,
): void {
  const others = matricesOf(description)
    .filter((matrix) => inputs.includes(matrix))
    .filter((matrix) => !weights.byInputs(matrixName(0, matrix)));
  if (others.length)
    throw new EngineError(
      'BAD_REQUEST',
      `\`sparsity\` ${name}: it selects inputs of ${others.join(', ')}, which lie one row an output in this engine; expected one row an input; open the engine with this method as \`sparsity\`, or with these matrices in \`byInputs\``,
    );
}

/**
 * Build a method for a model. Throws `NO_PREDICTOR` where it needs one that is not there, `BAD_REQUEST`
 * where weights do not lie as it needs them.
 */
export function createMethod(
  method: Method,
  backend: Backend,
  model: Pick<Model, 'description' | 'weights'>,
  predictor: Predictor | undefined,
  options: MethodOptions = {},
): Sparsity {
  const { description, weights } = model;
  expectLaidOut(method, model);
  const fixed: Record<Site, number | undefined> = {
    neurons: options.neurons,
    heads: options.heads,
  };
  const units: Record<Site, number> = { neurons: description.neurons, heads: description.heads };
  for (const [name, value] of Object.entries(fixed))
    if (value !== undefined && !(value >= 0 && value <= 1))
      throw new EngineError('BAD_REQUEST', `\`${name}\` is ${value}, expected a share from 0 to 1`);
  const needsFile = method.needs === 'predictor' || method.needs === 'usage';
  const densitiesKnown = predictor ?? fixed.neurons ?? fixed.heads;
  if ((needsFile && !predictor) || (method.needs === 'counts' && densitiesKnown === undefined))
    throw new EngineError(
      'NO_PREDICTOR',
      `\`sparsity\` ${method.name}: there is no predictor file beside the model; make one with \`train\`` +
        (method.needs === 'counts' ? ', or give `neurons` and `heads`' : ''),
    );
  return method.create({
    backend,
    description,
    predictor,
    matrix: (layer, matrix) => weights.get(matrixName(layer, matrix)),
    seed: options.seed ?? 0,
    count(site, layer, rows) {
      const alone = fixed[site];
      const expected = method.countsAsCalibrated
        ? predictor?.density(site, layer, rows)
        : undefined;
      const grown = alone !== undefined && site === 'neurons' ? unionShare(alone, rows) : alone;
      const share = grown ?? expected;
      if (share === undefined) return undefined;
      return share >= 1 ? 'all' : Math.round(share * units[site]);
    },
  });
}

/** Put a predictor file's weights into a backend, with the thresholds of an operating point. */
export function placePredictor(
  backend: Backend,
  file: PredictorFile,
  point: OperatingPoint,
): Predictor {
  const owned: Tensor[] = [];
  const place = (tensor: HostTensor): Tensor => {
    const placed = backend.allocate(tensor.dtype, tensor.shape, 'predictor');
    backend.write(placed, tensor.bytes);
    owned.push(placed);
    return placed;
  };
  const nets = file.layers.map((layer) => {
    const net = (site: Site): LowRankNet | undefined => {
      const trained = layer[site];
      if (!trained) return undefined;
      const { down, downBias, up, upBias } = trained;
      return {
        down: place(down),
        downBias: place(downBias),
        up: place(up),
        upBias: place(upBias),
      };
    };
    return { neurons: net('neurons'), heads: net('heads') };
  });
  const placed = {
    layers: file.layers,
    weightBytes: owned.reduce((sum, { storage }) => sum + storage!.bytes, 0),
    net: (site: Site, layer: number) => nets[layer][site],
    release: () => owned.forEach((tensor) => backend.free(tensor)),
  };
  return atPoint(placed, point);
}

/** The same nets with the thresholds of an operating point. */
export const atPoint = (
  { layers, weightBytes, net, release }: Omit<Predictor, 'threshold' | 'density'>,
  point: OperatingPoint,
): Predictor => ({
  ...{ layers, weightBytes, net, release },
  threshold: (site, layer) => point.thresholds[layer][site],
  density: (site, layer, rows) =>
    site === 'heads' ? point.densities[layer].heads : neuronShare(point, layer, rows),
});

/**
 * Share of neurons that `rows` rows are expected to select together: on the line between the measured
 * numbers of rows around it, by their logarithms; beyond the largest, the most it can grow.
 */
export function neuronShare(
  { densities, unions = [] }: Pick<OperatingPoint, 'densities' | 'unions'>,
  layer: number,
  rows: number,
): number {
  let below = { rows: 1, share: densities[layer].neurons };
  for (const union of unions) {
    const above = { rows: union.rows, share: union.neurons[layer] };
    if (rows < above.rows) {
      const place = Math.log(rows / below.rows) / Math.log(above.rows / below.rows);
      return below.share + place * (above.share - below.share);
    }
    below = above;
  }
  return unionShare(below.share, rows / below.rows);
}

/** The measured point within the loss budget, or thresholds read off the curves for a recall. */
export function choosePoint(
  file: PredictorFile,
  { maxLoss, recall }: Pick<MethodOptions, 'maxLoss' | 'recall'>,
): OperatingPoint {
  if (recall !== undefined) {
    if (!(recall >= 0 && recall <= 1))
      throw new EngineError('BAD_REQUEST', `\`recall\` is ${recall}, expected a share from 0 to 1`);
    return pointForRecall(file, recall);
  }
  const budget = maxLoss ?? defaultMaxLoss;
  if (!(budget >= 0))
    throw new EngineError('BAD_REQUEST', `\`maxLoss\` is ${budget}, expected a share such as 1%`);
  const within = file.points.filter((point) => point.maxLoss <= budget + 1e-12);
  const chosen = within.at(-1);
  if (chosen) return chosen;
  const known = file.points.map((point) => `${100 * point.maxLoss}%`).join(', ');
  throw new EngineError(
    'BAD_REQUEST',
    `\`maxLoss\` is ${100 * budget}%, below every point this predictor was calibrated for (${known}); ask for one of them or use \`sparsity\` dense`,
  );
}

/** In each layer, the highest threshold that still reaches the recall on held-out text. */
function pointForRecall(file: PredictorFile, recall: number): OperatingPoint {
  const picked = file.layers.map((layer) => {
    const at = (site: Site) => layer[site]?.curve.findLast((point) => point.recall >= recall);
    return { neurons: at('neurons'), heads: at('heads') };
  });
  return {
    maxLoss: NaN,
    loss: NaN,
    thresholds: picked.map(({ neurons, heads }) => ({
      neurons: neurons?.threshold,
      heads: heads?.threshold,
    })),
    densities: picked.map(({ neurons, heads }) => ({
      neurons: neurons?.density ?? 1,
      heads: heads?.density ?? 1,
    })),
  };
}

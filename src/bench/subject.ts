import type { Backend } from '../backend.ts';
import type { Engine } from '../engine/engine.ts';
import { findMethod } from '../engine/method.ts';
import { uniform } from '../random.ts';
import type { Model } from '../engine/step.ts';
import { hostTensor, rowWriter } from '../rows.ts';
import type { WeightType } from '../loaders/convert.ts';
import { syntheticCheckpoint, type SyntheticOptions } from '../loaders/synthetic.ts';
import { type Description, matrixName } from '../model.ts';
import {
  type LowRankNet,
  type Predictor,
  type PredictorType,
  siteType,
  usualType,
} from '../predictor.ts';
import { type Site, wrap } from '../selector.ts';
import type { MethodContext, Sparsity } from '../sparsity.ts';
import type { DType, Tensor } from '../tensor.ts';
import { headRank } from '../train/rank.ts';
import { neuronShare, type Shape } from './shapes.ts';

/** A model under measurement, with the methods it is measured with. */
export interface Subject {
  readonly name: string;
  /** Weights are random: speed and bytes mean something, text does not. */
  readonly synthetic: boolean;
  readonly backend: Backend;
  readonly model: Model;
  readonly weights: string;
  /** In memory, all together. */
  readonly weightBytes: number;
  readonly methods: readonly Sparsity[];
  readonly predictors: NeuronPredictors | undefined;
  release(): void;
}

/** What predictors of neurons are. */
export interface NeuronPredictors {
  /** Type of their matrices. */
  readonly type: DType;
  /** L entries; 0 where a layer has none. */
  readonly ranks: readonly number[];
}

function neuronPredictors(predictor: Predictor): NeuronPredictors | undefined {
  const nets = predictor.layers.map((_, layer) => predictor.net('neurons', layer)?.down);
  const type = nets.find((down) => down)?.dtype;
  return type && { type, ranks: nets.map((down) => down?.shape[0] ?? 0) };
}

/** An opened model with the methods it has what they need for. */
export function engineSubject(engine: Engine, names: readonly string[]): Subject {
  return {
    name: engine.model,
    synthetic: false,
    backend: engine.backend,
    model: engine.checkpoint,
    weights: engine.checkpoint.dtype,
    weightBytes: engine.checkpoint.weightBytes,
    methods: names.map((name) => engine.method(name)),
    predictors: engine.predictor && neuronPredictors(engine.predictor),
    release: () => undefined,
  };
}

/**
 * Rank of a synthetic predictor of neurons unless another is asked for: that of LLM in a flash for
 * OPT-6.7B (arXiv 2312.11514), the lowest that anybody reports. `train` goes up to 512.
 */
const syntheticRank = 128;

/**
 * A model of a shape with random weights, sparse as its profile says.
 *
 * Biases of the first projection (up, or gate) are set so that as many neurons fire as the profile selects: `exact` and
 * `oracle` meet their true density; rows fire independently of one another. A random predictor cannot know which, so what it selects is
 * computed to the end, zeros too: it is charged for every neuron, as if all it selected were active.
 */
export function syntheticSubject(
  shape: Shape,
  backend: Backend,
  options: {
    weights: WeightType;
    names: readonly string[];
    /** Of predictors of neurons. Default 128. */
    rank?: number | undefined;
    predictorType?: PredictorType | undefined;
  } & Pick<SyntheticOptions, 'memoryLimit' | 'expect'>,
): Subject {
  const {
    weights: dtype,
    names,
    rank = syntheticRank,
    predictorType = usualType,
    ...limits
  } = options;
  const found = names.map(findMethod);
  const byInputs = found.flatMap(({ inputs = [] }) => inputs);
  const model = syntheticCheckpoint(shape.config, backend, { dtype, byInputs, ...limits });
  const { description } = model;
  const { layers, neurons, heads } = description;
  const first = description.gated ? 'gateProj' : 'upProj';
  for (let layer = 0; layer < layers; layer++) {
    const bias = model.weights.get(`${matrixName(layer, first)}.bias`);
    const quantile = normalQuantile(1 - neuronShare(shape, layer, 1));
    backend.write(bias, new Float32Array(neurons).fill(-quantile));
  }
  const predictor = randomPredictor(backend, description, shape, rank, predictorType);
  const context: MethodContext = {
    backend,
    description,
    predictor,
    matrix: (layer, matrix) => model.weights.get(matrixName(layer, matrix)),
    seed: 0,
    count: (site, layer, rows) => {
      const share = predictor.density(site, layer, rows);
      return share === 1 ? undefined : Math.round(share * (site === 'heads' ? heads : neurons));
    },
  };
  return {
    name: shape.name,
    synthetic: true,
    backend,
    model: { ...model, roundsActivations: true },
    weights: dtype,
    weightBytes: model.weightBytes + predictor.weightBytes,
    methods: found.map((method) => {
      const sparsity = method.create(context);
      return method.choosesAhead ? chargedInFull(sparsity) : sparsity;
    }),
    predictors: neuronPredictors(predictor),
    release: () => {
      predictor.release();
      model.release();
    },
  };
}

/** The method, without leaving out what turned out inactive: all that it selects is computed to the end. */
export const chargedInFull = (method: Sparsity): Sparsity =>
  wrap(method, { begin: (g, step) => wrap(method.begin(g, step), { carry: undefined }) });

/** Predictors with random weights: what they select is meaningless, what they cost is real. */
function randomPredictor(
  backend: Backend,
  description: Description,
  shape: Shape,
  rank: number,
  type: PredictorType,
): Predictor {
  const { layers, hiddenSize, neurons, heads } = description;
  const random = uniform(1);
  const owned: Tensor[] = [];
  const place = (dtype: DType, dimensions: readonly number[]): Tensor => {
    const tensor = backend.allocate(dtype, dimensions, 'predictor');
    const content = hostTensor(dtype, dimensions);
    const [rows, columns] = dimensions.length > 1 ? dimensions : [1, dimensions[0]];
    const write = rowWriter(content);
    for (let row = 0; row < rows; row++)
      write(
        row,
        Float32Array.from({ length: columns }, () => (2 * random() - 1) / Math.sqrt(columns)),
      );
    backend.write(tensor, content.bytes);
    owned.push(tensor);
    return tensor;
  };
  const net = (site: Site, units: number, rank: number): LowRankNet => ({
    down: place(siteType(type, site), [rank, hiddenSize]),
    downBias: place('f32', [rank]),
    up: place(siteType(type, site), [units, rank]),
    upBias: place('f32', [units]),
  });
  const nets = Array.from({ length: layers }, (_, layer) => ({
    neurons: net('neurons', neurons, rank),
    heads:
      layer === 0 || shape.heads === 1 ? undefined : net('heads', heads, headRank(description)),
  }));
  return {
    weightBytes: owned.reduce((sum, { storage }) => sum + storage!.bytes, 0),
    layers: nets.map(() => ({ neurons: undefined, heads: undefined })),
    net: (site, layer) => nets[layer][site],
    threshold: () => undefined,
    density: (site, layer, rows) => {
      if (site === 'neurons') return neuronShare(shape, layer, rows);
      return layer === 0 ? 1 : shape.heads;
    },
    release: () => owned.forEach((tensor) => backend.free(tensor)),
  };
}

/** The x below which a standard normal number lies with probability p (Newton on its integral). */
export function normalQuantile(p: number): number {
  let x = 0;
  for (let i = 0; i < 50; i++) {
    const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
    const step = (normalIntegral(x) - p) / density;
    x -= Math.max(-1, Math.min(1, step));
    if (Math.abs(step) < 1e-12) break;
  }
  return x;
}

/** Share of a standard normal distribution below x, by its power series. */
function normalIntegral(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 && n < 500; n++) sum += term *= (x * x) / (2 * n + 1);
  return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
}

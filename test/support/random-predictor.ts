import type { Engine } from '../../src/engine/engine.ts';
import { placePredictor } from '../../src/engine/method.ts';
import { Inputs } from '../../src/ops/cases/inputs.ts';
import {
  type OperatingPoint,
  type PredictorFile,
  type SitePredictor,
  siteType,
} from '../../src/predictor.ts';
import { predictor } from '../../src/sparsity/predictor.ts';
import type { Site } from '../../src/selector.ts';
import type { Sparsity } from '../../src/sparsity.ts';

/**
 * A predictor with random weights, at the thresholds given: far below 0 they select all, far above none.
 * `density`: what it says it expects to select in each layer.
 */
export function randomPredictor(
  engine: Engine,
  thresholds: Readonly<Record<Site, number>>,
  density: (layer: number) => number = () => 1,
): Sparsity & Disposable {
  const { layers, neurons, heads, hiddenSize } = engine.description;
  const random = new Inputs(99);
  const net = (site: Site, units: number): SitePredictor => ({
    down: random.numbers([32, hiddenSize], siteType('int2g128', site)),
    downBias: random.numbers([32]),
    up: random.numbers([units, 32], siteType('int2g128', site)),
    upBias: random.numbers([units]),
    usage: new Float32Array(units),
    curve: [],
  });
  const each = Array.from({ length: layers }, (_, layer) => layer);
  const point: OperatingPoint = {
    maxLoss: 0,
    loss: 0,
    thresholds: each.map((layer) => ({ ...thresholds, ...(layer ? {} : { heads: undefined }) })),
    densities: each.map((layer) => ({ neurons: density(layer), heads: density(layer) })),
  };
  const file: PredictorFile = {
    provenance: {} as PredictorFile['provenance'],
    layers: each.map((layer) => ({
      neurons: net('neurons', neurons),
      heads: layer ? net('heads', heads) : undefined,
    })),
    points: [point],
  };
  const placed = placePredictor(engine.backend, file, point);
  const method = predictor({
    predictor: placed,
    description: engine.description,
    count: () => undefined,
  });
  return { ...method, [Symbol.dispose]: () => placed.release() };
}

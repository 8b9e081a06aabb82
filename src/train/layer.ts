import type { Backend } from '../backend.ts';
import { uniform } from '../random.ts';
import { hostTensor, rowWriter } from '../rows.ts';
import type { HostTensor } from '../op.ts';
import { linear } from '../ops/linear.ts';
import { type PredictorType, siteType } from '../predictor.ts';
import { Recorder } from '../program.ts';
import type { Tensor } from '../tensor.ts';
import { blockRows, type ExampleFile, type Examples } from './examples.ts';
import { Fit, type Net, type NetShape } from './fit.ts';
import { Histogram } from './histogram.ts';

export interface FitOptions {
  readonly type: PredictorType;
  /** The activation makes exact zeros: a neuron is active where it is not zero. */
  readonly exactZeros: boolean;
  readonly rank: number;
  readonly headRank: number;
  readonly steps: number;
  /** Examples of one step; a multiple of the block's rows. */
  readonly batch: number;
  readonly seed: number;
  readonly signal?: AbortSignal | undefined;
  /** Called after each step. */
  readonly onStep?: () => void;
}

/** A fitted net as it will be served, and what held-out examples say about it. */
export interface SiteFit {
  readonly down: HostTensor;
  readonly downBias: Float32Array;
  readonly up: HostTensor;
  readonly upBias: Float32Array;
  /** Mean contribution of each unit. */
  readonly usage: Float32Array;
  readonly histogram: Histogram;
}

export interface LayerFit {
  readonly neurons: SiteFit;
  /** For the heads of the next block; absent for the last. */
  readonly nextHeads: SiteFit | undefined;
}

/**
 * Learning rate at its peak, for inputs 256 wide; initial weights shrink with the width, so does it. Weights of
 * 2 bits have further to go to another code.
 */
const peakRate: Readonly<Record<PredictorType, number>> = {
  int8: 0.012,
  int4: 0.012,
  int2g128: 0.024,
};
const rateWidth = 256;
const warmupShare = 0.04;

/** Examples that scales and base rates are read off before fitting. */
const sampleBlocks = 256;

/** Fit one layer's predictors on blocks `[0, trainBlocks)` of its examples; judge them on the rest. */
export async function fitLayer(
  backend: Backend,
  file: ExampleFile,
  trainBlocks: number,
  layer: number,
  options: FitOptions,
): Promise<LayerFit> {
  const random = uniform(options.seed * 1009 + layer);
  const draw = shuffledBlocks(trainBlocks, random);
  const take = (count: number): number[] => Array.from({ length: count }, () => draw());
  const sample = await file.read(take(Math.min(sampleBlocks, trainBlocks)));
  const { inputs, neurons, heads } = file.shape;

  const nets = [
    {
      type: siteType(options.type, 'neurons'),
      pick: (e: Examples) => e.neurons,
      label: labelsAbove(options.exactZeros ? 0 : average(sample.neurons), sample.neurons),
      shape: { inputs, rank: options.rank, units: neurons },
    },
    ...(heads
      ? [
          {
            type: siteType(options.type, 'heads'),
            pick: (e: Examples) => e.heads,
            label: labelsAbove(average(sample.heads), sample.heads),
            shape: { inputs, rank: options.headRank, units: heads },
          },
        ]
      : []),
  ];
  const targets: ((typeof nets)[number] & { fit: Fit })[] = [];

  try {
    for (const net of nets) {
      const rates = activeRates(net.pick(sample), net.shape.units, net.label.isActive);
      const fit = await Fit.record(backend, net.shape, options.batch, rates, random, net.type);
      targets.push({ ...net, fit });
    }
    const batchBlocks = options.batch / blockRows;
    let next = file.read(take(batchBlocks));
    for (let step = 0; step < options.steps; step++) {
      options.signal?.throwIfAborted();
      const examples = await next;
      if (step + 1 < options.steps) next = file.read(take(batchBlocks));
      const share = learningRate(step, options.steps, inputs);
      for (const { fit, type, pick, label } of targets) {
        const labels = pick(examples);
        label.weigh(labels);
        await fit.step(examples.x, labels, peakRate[type] * share);
      }
      options.onStep?.();
    }
    const held = Array.from({ length: file.blocks - trainBlocks }, (_, i) => trainBlocks + i);
    const fits: SiteFit[] = [];
    for (const { fit, type, pick, label, shape } of targets) {
      const served = { type, batch: options.batch };
      fits.push(
        await judge(backend, await fit.net(), shape, served, file, held, pick, label.isActive),
      );
    }
    return { neurons: fits[0], nextHeads: fits[1] };
  } finally {
    for (const { fit } of targets) fit[Symbol.dispose]();
  }
}

/** Which contributions count as active. */
interface Labels {
  readonly isActive: (contribution: number) => boolean;
  /** Turn contributions into labels, in place: 0 for inactive, else a weight, mean 1. */
  readonly weigh: (contributions: Float32Array) => void;
}

/** Largest weight of one active unit, in means. */
const largestWeight = 30;

/**
 * Active is what contributes more than `bound`, and weighs in proportion. For neurons of ReLU models the
 * bound is 0; heads and neurons that are never exactly zero are active above their layer's average.
 */
function labelsAbove(bound: number, sample: Float32Array): Labels {
  const active = sample.filter((c) => c > bound);
  const scale = active.length / Math.max(total(active), 1e-30);
  return {
    isActive: (c) => c > bound,
    weigh(contributions) {
      for (let i = 0; i < contributions.length; i++) {
        const c = contributions[i];
        contributions[i] = c > bound ? Math.min(largestWeight, c * scale) : 0;
      }
    },
  };
}

const average = (values: Float32Array): number => total(values) / values.length;

function activeRates(
  contributions: Float32Array,
  units: number,
  isActive: (c: number) => boolean,
): Float32Array {
  const rates = new Float32Array(units);
  contributions.forEach((c, i) => (rates[i % units] += isActive(c) ? 1 : 0));
  return rates.map((count) => (count * units) / contributions.length);
}

/** Of the peak: warm up linearly, then fall along a half cosine to zero. */
function learningRate(step: number, steps: number, width: number): number {
  const warmup = Math.max(1, Math.round(warmupShare * steps));
  const peak = Math.sqrt(rateWidth / width);
  if (step < warmup) return (peak * (step + 1)) / warmup;
  return (peak / 2) * (1 + Math.cos((Math.PI * (step - warmup)) / (steps - warmup)));
}

/** Draws every block once before any comes again. */
function shuffledBlocks(count: number, random: () => number): () => number {
  const order = Array.from({ length: count }, (_, i) => i);
  let at = count;
  return () => {
    if (at === count) {
      for (let i = count - 1; i > 0; i--) {
        const j = Math.floor(random() * (i + 1));
        [order[i], order[j]] = [order[j], order[i]];
      }
      at = 0;
    }
    return order[at++];
  };
}

/** Encode a net as it is served, score held-out examples with it, and tally them. */
async function judge(
  backend: Backend,
  net: Net,
  { inputs, rank, units }: NetShape,
  { type, batch }: Pick<FitOptions, 'type' | 'batch'>,
  file: ExampleFile,
  blocks: readonly number[],
  pick: (examples: Examples) => Float32Array,
  isActive: (contribution: number) => boolean,
): Promise<SiteFit> {
  const down = encoded(net.down, type, [rank, inputs]);
  const up = encoded(net.up, type, [units, rank]);
  const histogram = new Histogram();
  const usage = new Float64Array(units);
  const owned: Tensor[] = [];
  const place = (dtype: Tensor['dtype'], shape: readonly number[], content?: ArrayBufferView) => {
    const tensor = backend.allocate(dtype, shape, 'state');
    if (content) backend.write(tensor, content);
    owned.push(tensor);
    return tensor;
  };
  const x = place('f32', [batch, inputs]);
  const g = new Recorder();
  const inner = linear(g, {
    x,
    w: place(type, down.shape, down.bytes),
    bias: place('f32', [rank], net.downBias),
    activation: 'relu',
  });
  const scores = g.keep(
    linear(g, {
      x: inner,
      w: place(type, up.shape, up.bytes),
      bias: place('f32', [units], net.upBias),
    }),
  );
  const program = await backend.compile(g.finish());
  const batchBlocks = batch / blockRows;
  let rows = 0;
  for (let first = 0; first < blocks.length; first += batchBlocks) {
    const part = blocks.slice(first, first + batchBlocks);
    const examples = await file.read(part);
    const padded = new Float32Array(batch * inputs);
    padded.set(examples.x);
    backend.write(x, padded);
    await backend.run(program);
    const found = new Float32Array((await backend.read([scores], program))[0].buffer);
    const truth = pick(examples);
    histogram.add(found.subarray(0, truth.length), truth, isActive);
    truth.forEach((c, i) => (usage[i % units] += c));
    rows += examples.rows;
  }
  program.release();
  for (const tensor of owned) backend.free(tensor);
  return {
    down,
    downBias: net.downBias,
    up,
    upBias: net.upBias,
    usage: Float32Array.from(usage, (sum) => sum / Math.max(1, rows)),
    histogram,
  };
}

function encoded(
  values: Float32Array,
  type: PredictorType,
  shape: readonly [number, number],
): HostTensor {
  const [rows, columns] = shape;
  const tensor = hostTensor(type, shape);
  const write = rowWriter(tensor);
  for (let row = 0; row < rows; row++)
    write(row, values.subarray(row * columns, (row + 1) * columns));
  return tensor;
}

const total = (values: Float32Array): number => values.reduce((a, b) => a + b, 0);

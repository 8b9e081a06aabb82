import type { Engine } from '../engine/engine.ts';
import { placePredictor } from '../engine/method.ts';
import { f32, hostTensor } from '../rows.ts';
import type { Description } from '../model.ts';
import type { HostTensor } from '../op.ts';
import type { OperatingPoint, PredictorFile, Provenance, SitePredictor } from '../predictor.ts';
import { predictor } from '../sparsity/predictor.ts';
import type { Site } from '../selector.ts';
import type { Sparsity } from '../sparsity.ts';
import type { Choice, Gate } from './calibrate.ts';
import type { LayerFit, SiteFit } from './layer.ts';

/** The predictor file of fitted layers, not yet calibrated. */
export function assemble(fits: readonly LayerFit[], provenance: Provenance): PredictorFile {
  return {
    provenance,
    layers: fits.map(({ neurons }, layer) => ({
      neurons: sitePredictor(neurons),
      heads: sitePredictor(fits[layer - 1]?.nextHeads),
    })),
    points: [],
  };
}

function sitePredictor(fit: SiteFit | undefined): SitePredictor | undefined {
  if (!fit) return undefined;
  const { down, up, usage, histogram } = fit;
  const vector = (values: Float32Array): HostTensor => {
    const tensor = hostTensor('f32', [values.length]);
    f32(tensor).set(values);
    return tensor;
  };
  return {
    down,
    downBias: vector(fit.downBias),
    up,
    upBias: vector(fit.upBias),
    usage,
    curve: histogram.curve(),
  };
}

/** Every predictor whose threshold is to be chosen, and what it can save. */
export function makeGates(fits: readonly LayerFit[], description: Description): Gate[] {
  const { hiddenSize, neurons, heads, headDim, gated } = description;
  // Rows a neuron or a head saves: up (gate) and down; query and output projections.
  const weights: Record<Site, number> = {
    neurons: (gated ? 3 : 2) * neurons * hiddenSize,
    heads: 2 * heads * headDim * hiddenSize,
  };
  const all = fits.length * weights.neurons + (fits.length - 1) * weights.heads;
  return fits.flatMap(({ neurons: own, nextHeads }, layer) => {
    const gate = (site: Site, at: number, fit: SiteFit): Gate => ({
      site,
      layer: at,
      cost: weights[site] / all,
      cuts: fit.histogram.cuts(),
    });
    return [
      gate('neurons', layer, own),
      ...(nextHeads ? [gate('heads', layer + 1, nextHeads)] : []),
    ];
  });
}

/** The operating point of a choice; gates not in it select all. */
export function pointOf(
  maxLoss: number,
  loss: number,
  choice: Choice,
  layers: number,
): OperatingPoint {
  const cut = (site: Site, layer: number) =>
    [...choice].find(([gate]) => gate.site === site && gate.layer === layer)?.[1];
  const threshold = (site: Site, layer: number): number | undefined => {
    const value = cut(site, layer)?.threshold;
    return value === -Infinity ? undefined : value;
  };
  const each = <T>(at: (layer: number) => T): T[] =>
    Array.from({ length: layers }, (_, l) => at(l));
  return {
    maxLoss,
    loss,
    thresholds: each((l) => ({ neurons: threshold('neurons', l), heads: threshold('heads', l) })),
    densities: each((l) => ({
      neurons: cut('neurons', l)?.density ?? 1,
      heads: cut('heads', l)?.density ?? 1,
    })),
  };
}

/** The predictor method at an operating point. */
export function methodAt(
  { backend, description }: Pick<Engine, 'backend' | 'description'>,
  file: PredictorFile,
  point: OperatingPoint,
): Sparsity & Disposable {
  const placed = placePredictor(backend, file, point);
  const method = predictor({ predictor: placed, description, count: () => undefined });
  return { ...method, [Symbol.dispose]: () => placed.release() };
}

/** A name for a choice, by its thresholds: under which its measured loss is remembered. */
export function nameOf(choice: Choice): string {
  return [...choice]
    .map(([{ site, layer }, { threshold }]) => `${site}${layer}:${threshold}`)
    .join(' ');
}

/** What one predictor does on held-out tokens. */
export interface SiteReport {
  /** Share of what was needed that was selected. */
  readonly recall: number;
  /** Share of what was selected that was needed. */
  readonly precision: number;
  /** Share that was selected. */
  readonly density: number;
  /** Share of the contribution |a|·‖w‖ that is selected. */
  readonly kept: number;
}

/** What every layer's predictors do at a point, L entries. */
export function reportLayers(
  gates: readonly Gate[],
  point: OperatingPoint,
  layers: number,
): { neurons: SiteReport; heads: SiteReport }[] {
  const report = (site: Site, layer: number): SiteReport => {
    const gate = gates.find((g) => g.site === site && g.layer === layer);
    const threshold = point.thresholds[layer][site] ?? -Infinity;
    const cut = gate?.cuts.find((c) => c.threshold === threshold);
    if (!cut) return { recall: 1, precision: 1, density: 1, kept: 1 };
    const { recall, precision, density, kept } = cut;
    return { recall, precision, density, kept };
  };
  return Array.from({ length: layers }, (_, layer) => ({
    neurons: report('neurons', layer),
    heads: report('heads', layer),
  }));
}

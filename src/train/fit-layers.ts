import type { Engine } from '../engine/engine.ts';
import { makesZeros } from '../ops/activation.ts';
import type { PredictorType } from '../predictor.ts';
import { groupLayers, observe, observerRows, openFiles, sample } from './collect.ts';
import { blockRows } from './examples.ts';
import { fitLayer, type LayerFit } from './layer.ts';
import { Observer } from './observe.ts';
import type { Phase } from './progress.ts';
import { chooseRanks, headRank } from './rank.ts';
import { WorkFolder } from './work-folder.ts';

const observedRows = 128;

export interface LayersToFit {
  /** Of whole windows; the first `trainTokens` are fitted on, the rest judge. */
  readonly ids: Int32Array;
  readonly trainTokens: number;
  readonly window: number;
  /** Of every layer. Default: by layer. */
  readonly rank: number | undefined;
  readonly type: PredictorType;
  readonly steps: number;
  readonly batch: number;
  readonly seed: number;
  readonly diskBytes: number;
  readonly signal: AbortSignal | undefined;
  readonly observing: Phase;
  readonly fitting: Phase;
  /** Opens the folder that remembers fitted layers, once their ranks are chosen. */
  readonly openWork: (ranks: readonly number[]) => Promise<WorkFolder>;
}

export interface FittedLayers {
  readonly fits: readonly LayerFit[];
  readonly ranks: readonly number[];
  readonly work: WorkFolder;
}

/** Observe the dense model and fit the predictors of every layer that no earlier run has fitted. */
export async function fitLayers(engine: Engine, to: LayersToFit): Promise<FittedLayers> {
  const { backend, checkpoint, description } = engine;
  const { layers, hiddenSize } = description;
  const { ids, window, type, steps, batch, seed, signal, observing, fitting } = to;
  using observer = await Observer.record(
    backend,
    checkpoint,
    observerRows(window, observedRows),
    window,
  );
  const first = await sample(observer, ids);
  const ranks = to.rank
    ? new Array<number>(layers).fill(to.rank)
    : chooseRanks(description, type, first.activeShares);
  const work = await to.openWork(ranks);

  const fits: LayerFit[] = [];
  const pending: number[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const known = await work.loadLayer(layer, hiddenSize, type);
    if (known) fits[layer] = known;
    else pending.push(layer);
  }
  const fitted = layers - pending.length;
  if (fitted > 0) fitting.advance('resume', fitted * steps);
  const groups = groupLayers(pending, first.bytesPerToken, ids.length, to.diskBytes);
  if (groups.length === 0) observing.skip();
  for (const group of groups) {
    await using files = await openFiles(work.path, group, description);
    await observe(observer, ids, window, files.byLayer, (count) => {
      signal?.throwIfAborted();
      observing.advance('observe the dense model', count / groups.length);
    });
    for (const layer of group) {
      const examples = files.byLayer.get(layer)!;
      fits[layer] = await fitLayer(backend, examples, to.trainTokens / blockRows, layer, {
        ...{ type, steps, batch, seed, signal },
        exactZeros: makesZeros(description.activation),
        rank: ranks[layer],
        headRank: headRank(description),
        onStep: () => fitting.advance(`fit layer ${layer + 1} of ${layers}`),
      });
      await work.saveLayer(layer, fits[layer]);
    }
  }
  return { fits, ranks, work };
}

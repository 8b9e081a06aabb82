import { join } from 'node:path';
import type { Engine } from '../engine/engine.ts';
import type { Prompt } from '../engine/generate.ts';
import { EngineError } from '../errors.ts';
import type { Description } from '../model.ts';
import { blockRows, ExampleFile } from './examples.ts';
import type { Observation, Observer } from './observe.ts';

/** Ids of all texts, at most `most`, cut to whole windows. */
export function collectIds(
  engine: Engine,
  texts: readonly Prompt[],
  most: number,
  window: number,
): Int32Array {
  const ids: number[] = [];
  for (const text of texts) {
    if (ids.length >= most) break;
    const added = typeof text === 'string' ? engine.tokenizer.encode(text) : text;
    for (let i = 0; i < added.length; i++) ids.push(added[i]);
  }
  const windows = Math.floor(Math.min(most, ids.length) / window);
  if (windows < leastWindows)
    throw new EngineError(
      'BAD_TEXT',
      `train: the texts have ${ids.length} tokens, expected at least ${leastWindows * window}; give more text (a million tokens are worth having)`,
    );
  return Int32Array.from(ids.slice(0, windows * window));
}

/** Windows without which nothing can be fitted and held out. */
const leastWindows = 6;

/** The end of the text is held out, in whole windows: other pages than the predictors saw. */
export function splitText(
  ids: Int32Array,
  window: number,
  heldOutShare: number,
): { trainTokens: number; heldOut: Int32Array } {
  const windows = ids.length / window;
  const held = Math.max(2, Math.round(heldOutShare * windows));
  const trainTokens = (windows - held) * window;
  return { trainTokens, heldOut: ids.subarray(trainTokens) };
}

/** A look at the first tokens: how many neurons are active, and what a token's examples will take. */
export async function sample(
  observer: Observer,
  ids: Int32Array,
): Promise<{ activeShares: number[]; bytesPerToken: number[] }> {
  await observer.run(ids.subarray(0, observer.rows), 0);
  const activeShares: number[] = [];
  const bytesPerToken: number[] = [];
  for (let layer = 0; layer < observer.layers; layer++) {
    const { x, neurons, nextHeads } = await observer.layer(layer);
    const active = neurons.reduce((count, c) => count + (c > 0 ? 1 : 0), 0);
    activeShares.push(active / neurons.length);
    const numbers = x.length + (nextHeads?.length ?? 0);
    bytesPerToken.push((2 * numbers + neurons.length / 8 + active) / observer.rows);
  }
  return { activeShares, bytesPerToken };
}

/** Layers whose examples fit on disk together, as many as possible at a time, at least one. */
export function groupLayers(
  layers: readonly number[],
  bytesPerToken: readonly number[],
  tokens: number,
  diskBytes: number,
): number[][] {
  const groups: number[][] = [];
  let left = 0;
  for (const layer of layers) {
    const bytes = bytesPerToken[layer] * tokens;
    if (groups.length === 0 || bytes > left) {
      groups.push([]);
      left = diskBytes;
    }
    groups.at(-1)!.push(layer);
    left -= bytes;
  }
  return groups;
}

/** Example files of a group of layers; closed and removed together. */
export async function openFiles(
  folder: string,
  layers: readonly number[],
  { hiddenSize, neurons, heads, layers: count }: Description,
): Promise<AsyncDisposable & { byLayer: ReadonlyMap<number, ExampleFile> }> {
  const byLayer = new Map<number, ExampleFile>();
  for (const layer of layers)
    byLayer.set(
      layer,
      await ExampleFile.create(join(folder, `examples-${layer}`), {
        inputs: hiddenSize,
        neurons,
        heads: layer + 1 < count ? heads : 0,
      }),
    );
  return {
    byLayer,
    [Symbol.asyncDispose]: async () => {
      for (const file of byLayer.values()) await file[Symbol.asyncDispose]();
    },
  };
}

/** Run the dense model over all ids and keep the examples of some layers. */
export async function observe(
  observer: Observer,
  ids: Int32Array,
  window: number,
  files: ReadonlyMap<number, ExampleFile>,
  onTokens: (count: number) => void,
): Promise<void> {
  const run = (at: number): Promise<void> =>
    observer.run(ids.subarray(at, at + observer.rows), at % window);
  let running = run(0);
  for (let at = 0; at < ids.length; at += observer.rows) {
    await running;
    const seen: [ExampleFile, Observation][] = [];
    for (const [layer, file] of files) seen.push([file, await observer.layer(layer)]);
    // The next rows run while these are packed and written.
    const next = at + observer.rows;
    running = next < ids.length ? run(next) : Promise.resolve();
    for (const [file, observation] of seen) await file.append(observation);
    onTokens(observer.rows);
  }
}

/** Rows an observer can take at a time: they divide the window into whole blocks. */
export function observerRows(window: number, most: number): number {
  for (let rows = most - (most % blockRows); rows > blockRows; rows -= blockRows)
    if (window % rows === 0) return rows;
  return blockRows;
}

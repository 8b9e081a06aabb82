import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { f32, hostTensor } from '../rows.ts';
import { readSafetensors, writeSafetensors } from '../loaders/files.ts';
import { replaceFile } from '../loaders/fs.ts';
import type { HostTensor } from '../op.ts';
import { type PredictorType, siteType } from '../predictor.ts';
import type { Site } from '../selector.ts';
import { byteLength } from '../tensor.ts';
import { Histogram } from './histogram.ts';
import type { LayerFit, SiteFit } from './layer.ts';

/**
 * What a training run has finished, on disk beside its output: fitted layers and measured losses. A run
 * that was killed goes on from here; one with other inputs (another `key`) starts anew.
 */
export class WorkFolder {
  readonly path: string;
  #losses: Record<string, number> = {};

  private constructor(path: string) {
    this.path = path;
  }

  static async open(path: string, key: string): Promise<WorkFolder> {
    const folder = new WorkFolder(path);
    const known = await readFile(join(path, 'key'), 'utf8').catch(() => undefined);
    if (known !== key) {
      await rm(path, { recursive: true, force: true });
      await mkdir(path, { recursive: true });
      await replaceFile(join(path, 'key'), [Buffer.from(key)]);
    }
    const losses = await readFile(join(path, 'losses.json'), 'utf8').catch(() => '{}');
    folder.#losses = JSON.parse(losses) as Record<string, number>;
    return folder;
  }

  /** A loss measured earlier under this name, or now. */
  async loss(name: string, measure: () => Promise<number>): Promise<number> {
    const known = this.#losses[name];
    if (known !== undefined) return known;
    this.#losses[name] = await measure();
    await replaceFile(join(this.path, 'losses.json'), [Buffer.from(JSON.stringify(this.#losses))]);
    return this.#losses[name];
  }

  async saveLayer(layer: number, { neurons, nextHeads }: LayerFit): Promise<void> {
    const tensors = new Map<string, HostTensor>();
    const floats = (values: Float32Array): HostTensor => {
      const tensor = hostTensor('f32', [values.length]);
      f32(tensor).set(values);
      return tensor;
    };
    for (const [name, fit] of Object.entries({ neurons, nextHeads })) {
      if (!fit) continue;
      const { down, up } = fit;
      const histogram = { bytes: new Uint8Array(fit.histogram.toArray().buffer) };
      for (const [key, { bytes }] of Object.entries({ histogram, down, up }))
        tensors.set(`${name}.${key}`, { dtype: 'u8', shape: [bytes.byteLength], bytes });
      tensors.set(`${name}.downBias`, floats(fit.downBias));
      tensors.set(`${name}.upBias`, floats(fit.upBias));
      tensors.set(`${name}.usage`, floats(fit.usage));
    }
    await writeSafetensors(this.#layerPath(layer), tensors);
  }

  /** A layer an earlier run fitted. */
  async loadLayer(
    layer: number,
    inputs: number,
    type: PredictorType,
  ): Promise<LayerFit | undefined> {
    const file = await readSafetensors(this.#layerPath(layer)).catch(() => undefined);
    if (!file) return undefined;
    const read = (name: keyof LayerFit, site: Site): SiteFit | undefined => {
      const dtype = siteType(type, site);
      const get = (key: string): HostTensor | undefined => file.tensors.get(`${name}.${key}`);
      const [down, up] = [get('down'), get('up')];
      const [downBias, upBias, usage, histogram] = ['downBias', 'upBias', 'usage', 'histogram'].map(
        (key) => get(key),
      );
      if (!down || !up || !downBias || !upBias || !usage || !histogram) return undefined;
      const [rank, units] = [downBias.shape[0], upBias.shape[0]];
      const matrix = (tensor: HostTensor, shape: readonly number[]): HostTensor => ({
        dtype,
        shape,
        bytes: tensor.bytes.subarray(0, byteLength(dtype, shape)),
      });
      return {
        down: matrix(down, [rank, inputs]),
        downBias: f32(downBias),
        up: matrix(up, [units, rank]),
        upBias: f32(upBias),
        usage: f32(usage),
        histogram: Histogram.from(new Float64Array(histogram.bytes.slice().buffer)),
      };
    };
    const neurons = read('neurons', 'neurons');
    return neurons && { neurons, nextHeads: read('nextHeads', 'heads') };
  }

  /** The work is done: leave nothing behind. */
  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }

  #layerPath(layer: number): string {
    return join(this.path, `layer-${layer}.safetensors`);
  }
}

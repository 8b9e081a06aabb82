import type { Folder, ModelFiles, Sha256, Source } from '../source.ts';
import type { Entry } from './entry.ts';
import { openGguf } from './gguf/open.ts';
import { whereIs } from './names.ts';
import { openCheckpoint } from './open.ts';
import { readAbout } from './quantized.ts';
import { openTensors, weightFiles } from './safetensors.ts';
import { chunkBytes } from './weights.ts';

/** Which checkpoint something was made for. */
export interface Identity {
  /** What `hashCheckpoint` says of it. */
  readonly modelHash: string;
  /** What `sampleCheckpoint` says of it; absent from what was made before there was that. */
  readonly modelSample?: string | undefined;
}

/**
 * Whether this is the checkpoint of these files, or the one it was quantized from.
 *
 * By samples where they are known, since every start asks: hashing gigabytes takes seconds. By the hash of
 * all bytes otherwise, and for samples of a scheme that this version does not know.
 */
export async function isCheckpoint(
  model: ModelFiles,
  { modelHash, modelSample }: Identity,
): Promise<boolean> {
  await using opened = await openCheckpoint(model);
  const about = readAbout(whereIs(model), opened.json, opened.files.metadata);
  if (about?.source === modelHash) return true;
  if (modelSample?.startsWith(`${scheme}:`)) return (await sampleCheckpoint(model)) === modelSample;
  return (await hashCheckpoint(model)) === modelHash;
}

/** SHA-256 of a checkpoint's configuration and weight files: what a predictor was made for. */
export async function hashCheckpoint({ folder, gguf }: ModelFiles): Promise<string> {
  const bytes = gguf === undefined ? folderContents(folder) : ggufContents(folder, gguf);
  return await hash(folder, bytes);
}

/** By what the place of a folder has, else in JavaScript, which is not loaded before. */
async function hash(folder: Folder, chunks: Parameters<Sha256>[0]): Promise<string> {
  const sha256 = folder.sha256 ?? (await import('./sha256.ts')).sha256;
  return await sha256(chunks);
}

/** Raise the number when anything of what is sampled changes. */
const scheme = 'sampled-1';
/** Of each tensor as many ranges of so many bytes, from its first to its last byte, at equal distances. */
const [ranges, rangeBytes] = [4, 4096];

/**
 * `sampled-1:` and the SHA-256 of config.json, and of each weight file its size, all that lies before
 * its first tensor, and 4 ranges of 4 KiB of every tensor; small tensors whole.
 *
 * Training changes all of a tensor, so whoever trained, merged, converted or quantized any one is found
 * out. A change of some bytes between the ranges is not: that takes the hash of all.
 */
export async function sampleCheckpoint({ folder, gguf }: ModelFiles): Promise<string> {
  const bytes = gguf === undefined ? folderSamples(folder) : ggufSamples(folder, gguf);
  return `${scheme}:${await hash(folder, bytes)}`;
}

async function* folderSamples(folder: Folder): AsyncGenerator<Uint8Array> {
  await using config = await folder.open('config.json');
  yield* contents('config.json', config);
  await using files = await openTensors(folder);
  yield* samples([...files.entries.values()]);
}

async function* ggufSamples(folder: Folder, file: string): AsyncGenerator<Uint8Array> {
  await using opened = await openGguf(folder, file);
  yield* samples([...opened.tensors.values()]);
}

type Place = Pick<Entry, 'source' | 'offset' | 'bytes'>;

async function* samples(tensors: readonly Place[]): AsyncGenerator<Uint8Array> {
  for (const source of new Set(tensors.map((tensor) => tensor.source))) {
    const own = tensors.filter((tensor) => tensor.source === source);
    own.sort((a, b) => a.offset - b.offset);
    yield new TextEncoder().encode(`${source.size}\n`);
    yield await source.read(0, own[0].offset);
    for (const tensor of own) yield* await Promise.all(samplesOf(tensor));
  }
}

function samplesOf({ source, offset, bytes }: Place): Promise<Uint8Array>[] {
  if (bytes <= ranges * rangeBytes) return [source.read(offset, bytes)];
  return Array.from({ length: ranges }, (_, i) => {
    const at = Math.floor((i * (bytes - rangeBytes)) / (ranges - 1));
    return source.read(offset + at, rangeBytes);
  });
}

async function* folderContents(folder: Folder): AsyncGenerator<Uint8Array> {
  const { files } = await weightFiles(folder);
  for (const file of ['config.json', ...files]) {
    await using source = await folder.open(file);
    yield* contents(file, source);
  }
}

/** Under names of ours: whoever renames a file does not change the model. */
async function* ggufContents(folder: Folder, file: string): AsyncGenerator<Uint8Array> {
  await using opened = await openGguf(folder, file);
  for (const [i, source] of opened.sources.entries()) yield* contents(`gguf ${i}`, source);
}

async function* contents(name: string, source: Source): AsyncGenerator<Uint8Array> {
  yield new TextEncoder().encode(`${name} ${source.size}\n`);
  for (let at = 0; at < source.size; at += chunkBytes)
    yield await source.read(at, Math.min(chunkBytes, source.size - at));
}

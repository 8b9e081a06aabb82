import { EngineError } from '../errors.ts';
import type { Family } from '../model.ts';
import { familyOf } from '../models/index.ts';
import type { Source } from '../source.ts';
import type { TensorFiles } from './entry.ts';
import { isGguf, openFolder, sha256 } from './fs.ts';
import { openGguf } from './gguf/open.ts';
import { translate } from './gguf/translate.ts';
import { readJsonFile } from './json.ts';
import { familyConfig, readAbout } from './quantized.ts';
import { openTensors, weightFiles } from './safetensors.ts';
import { chunkBytes } from './weights.ts';

/** A checkpoint whose configuration and headers are read and checked, and no weight yet. */
export interface OpenedCheckpoint extends AsyncDisposable {
  readonly family: Family;
  /** What `family.config` made of `json`. */
  readonly config: unknown;
  /** config.json; of a GGUF file, what its metadata say in the same terms. */
  readonly json: unknown;
  readonly files: TensorFiles;
}

/**
 * Open a checkpoint folder (config.json and safetensors) or a GGUF file. Throws `FILE_NOT_FOUND`,
 * `BAD_CONFIG`, `UNKNOWN_FAMILY`, `BAD_CHECKPOINT`.
 */
export async function openCheckpoint(path: string): Promise<OpenedCheckpoint> {
  if (isGguf(path)) return await openTranslated(path);
  const folder = await openFolder(path);
  const json = await readJsonFile(folder, 'config.json', 'BAD_CONFIG');
  const family = familyOf(json, `${path}/config.json`);
  const config = family.config(familyConfig(json));
  const files = await openTensors(folder);
  return { family, config, json, files, [Symbol.asyncDispose]: () => close(files) };
}

async function openTranslated(path: string): Promise<OpenedCheckpoint> {
  const opened = await openGguf(path);
  try {
    const { config: json, entries } = await translate(path, opened);
    const family = familyOf(json, path);
    const config = configOf(family, json, path);
    const dispose = (): Promise<void> => close(opened);
    const files = { entries, metadata: {}, [Symbol.asyncDispose]: dispose };
    return { family, config, json, files, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await close(opened);
    throw error;
  }
}

/** A family speaks of config.json, which this file has none of. */
function configOf(family: Family, json: unknown, path: string): unknown {
  try {
    return family.config(json);
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    const message = error.message.replace(/^config\.json/, `${path}, its metadata as config.json`);
    throw new EngineError(error.code, message, { cause: error });
  }
}

const close = async (opened: AsyncDisposable): Promise<void> => {
  await opened[Symbol.asyncDispose]();
};

/** Whether this hash is of the checkpoint at this path, or of the one it was quantized from. */
export async function isCheckpoint(path: string, hash: string): Promise<boolean> {
  await using opened = await openCheckpoint(path);
  const about = readAbout(path, opened.json, opened.files.metadata);
  return about?.source === hash || (await hashCheckpoint(path)) === hash;
}

/** SHA-256 of a checkpoint's configuration and weight files: what a predictor was made for. */
export async function hashCheckpoint(path: string): Promise<string> {
  return await sha256(isGguf(path) ? ggufContents(path) : folderContents(path));
}

async function* folderContents(path: string): AsyncGenerator<Uint8Array> {
  const folder = await openFolder(path);
  const { files } = await weightFiles(folder);
  for (const file of ['config.json', ...files]) {
    await using source = await folder.open(file);
    yield* contents(file, source);
  }
}

/** Under names of ours: whoever renames a file does not change the model. */
async function* ggufContents(path: string): AsyncGenerator<Uint8Array> {
  await using opened = await openGguf(path);
  for (const [i, source] of opened.sources.entries()) yield* contents(`gguf ${i}`, source);
}

async function* contents(name: string, source: Source): AsyncGenerator<Uint8Array> {
  yield new TextEncoder().encode(`${name} ${source.size}\n`);
  for (let at = 0; at < source.size; at += chunkBytes)
    yield await source.read(at, Math.min(chunkBytes, source.size - at));
}

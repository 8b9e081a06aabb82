import { EngineError } from '../errors.ts';
import type { Family } from '../model.ts';
import { familyOf } from '../models/index.ts';
import type { TensorFiles } from './entry.ts';
import { isGguf, openFolder } from './fs.ts';
import { openGguf } from './gguf/open.ts';
import { translate } from './gguf/translate.ts';
import { readJsonFile } from './json.ts';
import { familyConfig } from './quantized.ts';
import { openTensors } from './safetensors.ts';

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

import { EngineError } from '../errors.ts';
import type { Description, Family } from '../model.ts';
import { familyOf } from '../models/index.ts';
import type { Folder, ModelFiles } from '../source.ts';
import type { TensorFiles } from './entry.ts';
import {
  type GenerationConfig,
  type GenerationDefaults,
  noDefaults,
  parseGeneration,
  readGeneration,
} from './generation.ts';
import { openGguf } from './gguf/open.ts';
import { translate } from './gguf/translate.ts';
import { readJsonFile } from './json.ts';
import { familyConfig } from './quantized.ts';
import { whereIs } from './names.ts';
import { type Packing, packingOf, unpackedConfig, unpackedFiles } from './packed/index.ts';
import { openTensors } from './safetensors.ts';

/** A checkpoint whose configuration and headers are read and checked, and no weight yet. */
export interface OpenedCheckpoint extends AsyncDisposable {
  readonly family: Family;
  /** What `family.config` made of `json`. */
  readonly config: unknown;
  /** Its end ids are those of config.json and those of generation_config.json. */
  readonly description: Description;
  readonly defaults: GenerationDefaults;
  /** config.json; of a GGUF file, what its metadata say in the same terms. */
  readonly json: unknown;
  /** What a GGUF file's metadata say in the terms of generation_config.json. */
  readonly generation?: Readonly<Record<string, unknown>> | undefined;
  /** How its matrices are packed, where they are as GPTQ, AWQ and others publish them. */
  readonly packing?: Packing | undefined;
  readonly files: TensorFiles;
}

/**
 * Open a checkpoint folder (config.json and safetensors) or a GGUF file. Throws `FILE_NOT_FOUND`,
 * `BAD_CONFIG`, `UNKNOWN_FAMILY`, `BAD_CHECKPOINT`.
 */
export async function openCheckpoint(model: ModelFiles): Promise<OpenedCheckpoint> {
  const { folder, gguf } = model;
  if (gguf !== undefined) return await openTranslated(folder, gguf, whereIs(model));
  const { family, json } = await readFamily(folder, whereIs(model));
  const plain = familyConfig(json);
  const packing = packingOf(plain);
  const config = family.config(packing ? unpackedConfig(plain) : plain);
  const described = family.describe(config);
  const said = describeWith(described, await readGeneration(folder, described.context));
  const stored = await openTensors(folder);
  const dispose = (): Promise<void> => close(stored);
  try {
    const files = packing ? await unpackedFiles(whereIs(model), stored, packing) : stored;
    return { family, config, ...said, json, packing, files, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** The family that a folder's config.json names. Throws `FILE_NOT_FOUND`, `BAD_CONFIG`, `UNKNOWN_FAMILY`. */
export async function readFamily(
  folder: Folder,
  where: string,
): Promise<Pick<OpenedCheckpoint, 'family' | 'json'>> {
  const json = await readJsonFile(folder, 'config.json', 'BAD_CONFIG');
  return { family: familyOf(json, `${where}/config.json`), json };
}

async function openTranslated(
  folder: Folder,
  file: string,
  where: string,
): Promise<OpenedCheckpoint> {
  const opened = await openGguf(folder, file);
  try {
    const { config: json, generation, entries } = await translate(where, opened);
    const family = familyOf(json, where);
    const config = configOf(family, json, where);
    const described = family.describe(config);
    const said = describeWith(
      described,
      generation && parseGeneration(generation, `the metadata of ${where}`, described.context),
    );
    const dispose = (): Promise<void> => close(opened);
    const files = { entries, metadata: {}, [Symbol.asyncDispose]: dispose };
    return { family, config, ...said, json, generation, files, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await close(opened);
    throw error;
  }
}

/** What ends a text is known here alone: in the description. */
const describeWith = (
  described: Description,
  generation: GenerationConfig | undefined,
): Pick<OpenedCheckpoint, 'description' | 'defaults'> => ({
  description: {
    ...described,
    endIds: [...new Set([...described.endIds, ...(generation?.endIds ?? [])])],
  },
  defaults: generation?.defaults ?? noDefaults,
});

/** A family speaks of config.json, which this file has none of. */
function configOf(family: Family, json: unknown, where: string): unknown {
  try {
    return family.config(json);
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    const message = error.message.replace(/^config\.json/, `${where}, its metadata as config.json`);
    throw new EngineError(error.code, message, { cause: error });
  }
}

const close = async (opened: AsyncDisposable): Promise<void> => {
  await opened[Symbol.asyncDispose]();
};

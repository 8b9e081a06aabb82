import { EngineError } from '../errors.ts';
import type { Folder, ModelFiles } from '../source.ts';

/** Whether a model of this name is a GGUF file, not a folder. */
export const isGguf = (path: string): boolean => /\.gguf$/i.test(path);

/** Where a model is, for messages. */
export const whereIs = ({ path, folder, gguf }: ModelFiles): string =>
  path ?? (gguf === undefined ? folder.name : `${folder.name}/${gguf}`);

/** A folder that is a model, called by its own name. */
export const filesOf = (model: Folder | ModelFiles): ModelFiles =>
  'folder' in model ? model : { name: model.name, folder: model };

/** Name of the predictor in a model's folder, unless somebody says otherwise. */
export const predictorName = (gguf?: string): string =>
  gguf?.replace(/\.gguf$/i, '.predictor.safetensors') ?? 'predictor.safetensors';

/** The same as a path, for the path of a folder or a GGUF file. */
export const predictorBeside = (path: string): string =>
  isGguf(path) ? predictorName(path) : `${path.replace(/\/+$/, '')}/${predictorName()}`;

/** The path of what was opened by its path. Throws `BAD_REQUEST` elsewhere. */
export function expectPath(files: ModelFiles): string {
  if (files.path !== undefined) return files.path;
  throw new EngineError(
    'BAD_REQUEST',
    `${whereIs(files)}: lies in no folder of this machine; expected a model that was opened by its path; name the files that are meant`,
  );
}

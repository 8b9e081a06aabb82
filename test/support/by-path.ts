import type { Backend } from '../../src/backend.ts';
import type { Description } from '../../src/model.ts';
import type { PredictorFile } from '../../src/predictor.ts';
import * as checkpoint from '../../src/loaders/checkpoint.ts';
import { modelFiles, openFile } from '../../src/loaders/fs.ts';
import * as identity from '../../src/loaders/identity.ts';
import * as predictor from '../../src/loaders/predictor.ts';
import * as tokenizer from '../../src/tokenizer/index.ts';

// What takes a model's files, for the path of a folder or a GGUF file.

export const loadCheckpoint = async (
  path: string,
  backend: Backend,
  options?: checkpoint.LoadOptions,
): Promise<checkpoint.Checkpoint> =>
  await checkpoint.loadCheckpoint(await modelFiles(path), backend, options);

export const hashCheckpoint = async (path: string): Promise<string> =>
  await identity.hashCheckpoint(await modelFiles(path));

export const sampleCheckpoint = async (path: string): Promise<string> =>
  await identity.sampleCheckpoint(await modelFiles(path));

export const isCheckpoint = async (path: string, of: identity.Identity): Promise<boolean> =>
  await identity.isCheckpoint(await modelFiles(path), of);

export const loadTokenizer = async (path: string): Promise<tokenizer.Tokenizer | undefined> =>
  await tokenizer.loadTokenizer(await modelFiles(path));

export async function readPredictor(path: string, of: Description): Promise<PredictorFile> {
  await using source = await openFile(path);
  return await predictor.readPredictor(source, of);
}

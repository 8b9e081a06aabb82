import type { HostTensor } from '../op.ts';
import type { PredictorFile } from '../predictor.ts';
import { openFile, replaceFile } from './fs.ts';
import { encodePredictor } from './predictor.ts';
import { encodeTensors, readTensors } from './safetensors.ts';

/** Read a safetensors file into memory. Throws `FILE_NOT_FOUND`, `BAD_CHECKPOINT`. */
export async function readSafetensors(path: string): Promise<{
  tensors: Map<string, HostTensor>;
  metadata: Record<string, string>;
}> {
  await using source = await openFile(path);
  return await readTensors(source);
}

/** Write a safetensors file; one that is there is replaced when the new one is complete. */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, HostTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  await replaceFile(path, encodeTensors(tensors, metadata));
}

/** Write a predictor file; one that is there is replaced when the new one is complete. */
export const writePredictor = (path: string, file: PredictorFile): Promise<void> =>
  replaceFile(path, encodePredictor(file));

import { EngineError } from '../errors.ts';
import { savePicture } from '../plot/svg.ts';

/** Save a picture; returns what went wrong, as the figures are to be printed even so. */
export async function draw(path: string, svg: string): Promise<EngineError | undefined> {
  try {
    await savePicture(path, svg);
    return undefined;
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
}

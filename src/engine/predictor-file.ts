import { EngineError } from '../errors.ts';
import { isCheckpoint } from '../loaders/identity.ts';
import { predictorName, whereIs } from '../loaders/names.ts';
import { readPredictor } from '../loaders/predictor.ts';
import type { Description } from '../model.ts';
import type { PredictorFile } from '../predictor.ts';
import type { ModelFiles, Source } from '../source.ts';

/** The predictor that is given, or that lies beside the model. */
export async function predictorOf(
  files: ModelFiles,
  given: Source | undefined,
  description: Description,
): Promise<PredictorFile | undefined> {
  if (given) return await predictorFor(files, given, description);
  const name = predictorName(files.gguf);
  if (!files.folder.files.includes(name)) return undefined;
  await using source = await files.folder.open(name);
  return await predictorFor(files, source, description);
}

async function predictorFor(
  files: ModelFiles,
  source: Source,
  description: Description,
): Promise<PredictorFile> {
  const predictor = await readPredictor(source, description);
  const { modelHash } = predictor.provenance;
  if (await isCheckpoint(files, predictor.provenance)) return predictor;
  throw new EngineError(
    'BAD_PREDICTOR',
    `${source.name}: made for other weights (hash ${modelHash.slice(0, 12)}), expected those of ${whereIs(files)}, or those they were quantized from; train one for this model with \`train\``,
  );
}

/** An operating point is asked for, and there is no file that has some. */
export const noPoints = (files: ModelFiles): EngineError =>
  new EngineError(
    'NO_PREDICTOR',
    `${files.folder.name}/${predictorName(files.gguf)}: there is no such file, expected a predictor that has operating points; make one with \`train\``,
  );

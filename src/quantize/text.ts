import type { Engine } from '../engine/engine.ts';
import type { Prompt } from '../engine/generate.ts';
import { EngineError } from '../errors.ts';
import { runOf } from '../eval/run.ts';
import { scoreWindows, windowing, windowsOf } from '../eval/windows.ts';
import { folderExists, openFolder } from '../loaders/fs.ts';
import { readTextFile } from '../loaders/json.ts';

/** Ids that GPTQ is calibrated on, in windows of one length that each begin a text. */
export interface Calibration {
  readonly length: number;
  readonly windows: readonly Int32Array[];
}

const defaultTokens = 32_768;
const longestWindow = 512;
/** Most ids that a held-out part is scored on. */
const mostScored = 16_384;
const heldOutShare = 0.1;

/** Ids of a text, and its last part apart. */
export function splitText(engine: Engine, text: Prompt): { first: Int32Array; last: Int32Array } {
  const ids = Int32Array.from(
    typeof text === 'string' ? engine.tokenizer.encode(text, { special: false }) : Array.from(text),
  );
  const { vocabulary } = engine.description;
  const wrong = ids.find((id) => !(id >= 0 && id < vocabulary));
  if (wrong !== undefined)
    throw new EngineError(
      'BAD_REQUEST',
      `text: id ${wrong} is outside the vocabulary, expected 0 to ${vocabulary - 1}`,
    );
  const at = ids.length - Math.floor(heldOutShare * ids.length);
  return { first: ids.subarray(0, at), last: ids.subarray(at) };
}

/** Windows from all over the ids, `tokens` at most. Throws `BAD_TEXT` where there are too few ids. */
export function calibrationOf(
  { context }: Engine,
  ids: Int32Array,
  tokens = defaultTokens,
): Calibration {
  const length = Math.min(longestWindow, context, tokens);
  const there = Math.floor(ids.length / length);
  if (there === 0)
    throw new EngineError(
      'BAD_TEXT',
      `text: ${ids.length} tokens are left to calibrate on, expected at least ${length}; give more text`,
    );
  const count = Math.min(there, Math.floor(tokens / length));
  const windows = Array.from({ length: count }, (_, i) => {
    const start = Math.floor((i * there) / count) * length;
    return ids.subarray(start, start + length);
  });
  return { length, windows };
}

/** Texts to measure perplexity on: the excerpts beside the model, else what was held out; as ids. */
export async function textsToScore(
  engine: Engine,
  heldOut: Int32Array | undefined,
): Promise<Int32Array[]> {
  const path = `${engine.folder}/excerpts`;
  const texts: Int32Array[] = [];
  if (engine.hasTokenizer && (await folderExists(path))) {
    const folder = await openFolder(path);
    for (const file of folder.files.filter((name) => name.endsWith('.txt')))
      texts.push(
        Int32Array.from(
          engine.tokenizer.encode(await readTextFile(folder, file, 'BAD_TEXT'), { special: false }),
        ),
      );
  }
  const chosen = texts.length || !heldOut ? texts : [heldOut.subarray(0, mostScored)];
  return chosen.filter((ids) => ids.length > 1);
}

/** Perplexity over all ids of all texts, as the `perplexity` task has it. */
export async function perplexityOf(
  engine: Engine,
  texts: readonly Int32Array[],
  signal: AbortSignal | undefined,
  onProgress: (share: number) => void,
): Promise<number> {
  const shape = windowing(engine, {});
  let [sum, scored] = [0, 0];
  for (const [i, ids] of texts.entries()) {
    const losses = await scoreWindows(ids, windowsOf(ids.length, shape), {
      ...runOf(engine, { signal }),
      onProgress: (share) => onProgress((i + share) / texts.length),
    });
    sum += losses.reduce((a, b) => a + b, 0);
    scored += losses.length;
  }
  return Math.exp(sum / scored);
}

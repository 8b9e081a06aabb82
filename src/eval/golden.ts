import * as z from 'zod';
import { EngineError } from '../errors.ts';
import { fileExists, openFolder } from '../loaders/fs.ts';
import { readJsonFile, readTextFile } from '../loaders/json.ts';
import type { HostTensor } from '../op.ts';
import { type KvGolden, readKvGolden } from './kv-golden.ts';
import { openTensors } from './outputs.ts';

/** Outputs of another implementation for the same weights, to compare ours with. */
export interface Golden {
  /** The file it came from. */
  readonly path: string;
  /** Logits and hidden states of dense prefill, and greedy ids. */
  readonly tensors?: GoldenTensors;
  /** Logits where only given heads and neurons contribute. */
  readonly masked?: MaskedTensors;
  /** Perplexities and greedy texts. */
  readonly texts?: GoldenTexts;
  /** Logits and kept tokens under KV policies. */
  readonly kv?: KvGolden;
}

/** Reference outputs of one run of ids. */
export interface GoldenTensors {
  /** i32 [T] */
  readonly ids: HostTensor;
  /** f32 [T, V], of dense prefill */
  readonly logits: HostTensor;
  /**
   * f32 [T, E] after the embedding, then after each block; the last one after the final norm, and
   * after what a family projects it with (OPT-350M: fewer columns).
   */
  readonly hidden: readonly HostTensor[];
  /** i32 [N]: what follows the ids, greedily, past any end-of-text id */
  readonly greedyIds: HostTensor;
}

/** The same ids where only given heads and neurons contribute; keys and values are of all heads. */
export interface MaskedTensors {
  /** u8 [L, T, H] */
  readonly heads: HostTensor;
  /** u8 [L, T, F] */
  readonly neurons: HostTensor;
  /** f32 [T, V] */
  readonly logits: HostTensor;
}

/** What a bundled model is compared on. */
export interface GoldenTexts {
  /** Texts, and their perplexity in windows. */
  readonly perplexities: readonly {
    readonly name: string;
    readonly text: string;
    readonly window: number;
    readonly stride: number;
    readonly perplexity: number;
  }[];
  /** Prompts, and the ids that follow each greedily. */
  readonly greedy: readonly {
    readonly prompt: string;
    readonly promptIds: readonly number[];
    readonly ids: readonly number[];
  }[];
}

/**
 * The golden file beside a model. Throws `FILE_NOT_FOUND`.
 *
 *     const golden = await readGolden(await findGolden(engine.folder));
 */
export async function findGolden(folder: string): Promise<string> {
  for (const name of ['golden.safetensors', 'golden.json'])
    if (await fileExists(`${folder}/${name}`)) return `${folder}/${name}`;
  throw new EngineError(
    'FILE_NOT_FOUND',
    `${folder}: has no golden.safetensors; expected reference outputs beside the model; name them to \`readGolden\``,
  );
}

/**
 * Read reference outputs: a `.safetensors` file with masked.safetensors and kv-golden.* beside it, where they are, or a
 * golden.json with excerpts/ beside it. Throws `FILE_NOT_FOUND`, `BAD_CHECKPOINT`, `MISSING_TENSOR`,
 * `BAD_SHAPE`.
 *
 *     const golden = await readGolden('models/mine/golden.safetensors');
 */
export async function readGolden(path: string): Promise<Golden> {
  const [, folder = '.', file = path] = /^(.*)[/\\]([^/\\]+)$/.exec(path) ?? [];
  if (file.endsWith('.json')) return { path, texts: await readTexts(folder, file) };
  const take = await openTensors(path);
  const hidden: HostTensor[] = [];
  while (take.has(`hidden.${hidden.length}`)) hidden.push(take(`hidden.${hidden.length}`, 'f32'));
  const tensors = {
    ids: take('input_ids', 'i32'),
    logits: take('logits', 'f32'),
    hidden,
    greedyIds: take('greedy_ids', 'i32'),
  };
  const masked = await readMasked(`${folder}/masked.safetensors`);
  const kv = await readKvGolden(folder);
  return { path, tensors, ...(masked && { masked }), ...(kv && { kv }) };
}

async function readMasked(path: string): Promise<MaskedTensors | undefined> {
  if (!(await fileExists(path))) return undefined;
  const take = await openTensors(path);
  return {
    heads: take('heads', 'u8'),
    neurons: take('neurons', 'u8'),
    logits: take('logits', 'f32'),
  };
}

const ids = z.array(z.int().nonnegative());
const schema = z.object({
  perplexity: z.record(
    z.string().regex(/^[\w.-]+$/, 'a file name was expected'),
    z.object({ window: z.int(), stride: z.int(), perplexity: z.number().positive() }),
  ),
  greedy: z.array(z.object({ prompt: z.string(), prompt_ids: ids, ids })),
});

async function readTexts(path: string, file: string): Promise<GoldenTexts> {
  const folder = await openFolder(path);
  const parsed = schema.safeParse(await readJsonFile(folder, file, 'BAD_CHECKPOINT'));
  if (!parsed.success)
    throw new EngineError(
      'BAD_CHECKPOINT',
      `${path}/${file}: ${parsed.error.issues[0].path.join('.')}: ${parsed.error.issues[0].message}; expected perplexities and greedy texts; name another file to \`readGolden\``,
    );
  const { perplexity, greedy } = parsed.data;
  const excerpts = await openFolder(`${path}/excerpts`);
  const perplexities = [];
  for (const [name, expected] of Object.entries(perplexity))
    perplexities.push({ name, text: await readTextFile(excerpts, name, 'BAD_TEXT'), ...expected });
  return {
    perplexities,
    greedy: greedy.map(({ prompt, prompt_ids, ids }) => ({ prompt, promptIds: prompt_ids, ids })),
  };
}

import { readJsonFile, readTextFile } from '../loaders/json.ts';
import { isGguf, openFolder } from '../loaders/fs.ts';
import { byteLevelTokenizer } from './byte-level.ts';
import { createTokenizer, type Tokenizer } from './tokenizer.ts';

export type { TextStream, Tokenizer } from './tokenizer.ts';

/**
 * The tokenizer of a checkpoint folder: tokenizer.json, or the vocab.json and merges.txt that OPT and
 * GPT-2 were published with. Undefined where there is none. Throws `NO_TOKENIZER` when it is unusable.
 */
export async function loadTokenizer(path: string): Promise<Tokenizer | undefined> {
  if (isGguf(path)) return undefined;
  const folder = await openFolder(path);
  const has = (file: string): boolean => folder.files.includes(file);
  const read = (file: string): Promise<unknown> => readJsonFile(folder, file, 'NO_TOKENIZER');
  const config = has('tokenizer_config.json') ? await read('tokenizer_config.json') : {};
  if (has('tokenizer.json'))
    return createTokenizer(await read('tokenizer.json'), config, `${path}/tokenizer.json`);
  if (!has('vocab.json') || !has('merges.txt')) return undefined;
  const merges = await readTextFile(folder, 'merges.txt', 'NO_TOKENIZER');
  const json = byteLevelTokenizer(await read('vocab.json'), merges, config, `${path}/vocab.json`);
  return createTokenizer(json, config, `${path}/vocab.json`);
}

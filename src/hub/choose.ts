import { EngineError } from '../errors.ts';

/** What of a model's files is needed to run it. */
export interface Choice {
  readonly files: readonly string[];
  /** The GGUF file to open, the first of its shards; absent: the folder. */
  readonly gguf?: string;
}

const single = 'model.safetensors';
export const indexFile = 'model.safetensors.index.json';

/** What a folder is loaded from besides its weights; taken where it is there. */
const besides = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'tokenizer.model',
  'chat_template.jinja',
  'predictor.safetensors',
];

/**
 * Choose what this engine can load: safetensors with their configuration and tokenizer, else one GGUF
 * file; never pickled weights. `shards` reads the index, which is among the names then. Throws
 * `BAD_REQUEST` where several GGUF files fit, `NOT_ON_HUB` where nothing does.
 */
export async function chooseFiles(
  where: string,
  names: readonly string[],
  file: string | undefined,
  shards: () => Promise<readonly string[]>,
): Promise<Choice> {
  const there = new Set(names);
  const has = (name: string): boolean => there.has(name);
  const weights = has(single) || has(indexFile);
  if (file === undefined && has('config.json') && weights) {
    const files = has(single) ? [single] : [indexFile, ...(await shards())];
    const missing = files.find((name) => !has(name));
    if (missing !== undefined)
      throw nothing(where, `${missing}, which ${indexFile} names, is missing`, names);
    return { files: [...besides.filter(has), ...files] };
  }
  return chooseGguf(where, names, file);
}

const shardName = /-(\d{5})-of-(\d{5})\.gguf$/i;

function chooseGguf(where: string, names: readonly string[], file: string | undefined): Choice {
  // What else lies beside a model: a projector of images, statistics of activations, a vocabulary.
  const models = names.filter(
    (name) =>
      /\.gguf$/i.test(name) &&
      (shardName.exec(name)?.[1] ?? '00001') === '00001' &&
      (file !== undefined || !/(^|\/)(mmproj|ggml-vocab)|imatrix/i.test(name)),
  );
  if (!models.length) throw nothing(where, 'there is none', names);
  const exact = models.filter((name) => name === file);
  const fitting = exact.length ? exact : models.filter((name) => fits(name, file));
  if (fitting.length !== 1)
    throw new EngineError(
      'BAD_REQUEST',
      `${where}: ${fitting.length || 'none'} of its GGUF files ${file === undefined ? 'is named' : `fit ${JSON.stringify(file)}`}; expected one of ${(fitting.length ? fitting : models).join(', ')}; name it: ORG/NAME:FILE or \`file\``,
    );
  const [gguf] = fitting;
  const all = allShards(gguf);
  const missing = all.find((name) => !names.includes(name));
  if (missing !== undefined) throw nothing(where, `${missing} is missing`, names);
  const predictor = gguf.replace(/\.gguf$/i, '.predictor.safetensors');
  return { gguf, files: [...all, ...(names.includes(predictor) ? [predictor] : [])] };
}

/** A pattern is of the whole path or of the file's name; a word, of a part between other letters. */
function fits(name: string, file: string | undefined): boolean {
  if (file === undefined) return true;
  const base = name.slice(name.lastIndexOf('/') + 1);
  const plain = file.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*');
  const pattern = file.includes('*')
    ? new RegExp(`^${plain}$`, 'i')
    : new RegExp(`(?<![a-z0-9])${plain}(?![a-z0-9])`, 'i');
  return pattern.test(base) || (file.includes('*') && pattern.test(name));
}

function allShards(first: string): string[] {
  const [end, , total] = shardName.exec(first) ?? [];
  if (!end || !total) return [first];
  return Array.from({ length: Number(total) }, (_, i) =>
    first.replace(shardName, `-${String(i + 1).padStart(5, '0')}-of-${total}.gguf`),
  );
}

function nothing(where: string, found: string, names: readonly string[]): EngineError {
  const pickled = names.filter((name) => /\.(bin|pt|pth|ckpt)$/.test(name));
  const other = pickled.length ? ` (${pickled[0]} is pickled Python, which is not read)` : '';
  return new EngineError(
    'NOT_ON_HUB',
    `${where}: of what can be loaded, ${found}${other}; expected config.json with ${single} or its shards, or a .gguf file; choose another repository or revision`,
  );
}

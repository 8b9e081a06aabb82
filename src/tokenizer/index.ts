import { openGguf } from '../loaders/gguf/open.ts';
import { readJsonFile, readTextFile, readWhole } from '../loaders/json.ts';
import { whereIs } from '../loaders/names.ts';
import type { Folder, ModelFiles } from '../source.ts';
import { byteLevelTokenizer } from './byte-level.ts';
import { ggufTokenizer, type TokenizerFiles } from './gguf.ts';
import { sentencePieceJson } from './sentencepiece-model.ts';
import { createTokenizer, type Tokenizer } from './tokenizer.ts';

export type { ChatTemplate, ContentPart, Message, RenderOptions } from './chat-template.ts';
export type { Folder, ModelFiles, Sha256, Source } from '../source.ts';
export type { TokenizerFiles } from './gguf.ts';
export type { DecodeStream, Tokenizer } from './tokenizer.ts';

/**
 * The tokenizer of a checkpoint: a folder's tokenizer.json, the vocab.json and merges.txt that OPT and GPT-2
 * were published with, or SentencePiece's tokenizer.model; the vocabulary of a GGUF file. Undefined
 * where there is none. Throws `NO_TOKENIZER` when it is unusable.
 */
export async function loadTokenizer(model: ModelFiles): Promise<Tokenizer | undefined> {
  const files = await readTokenizer(model);
  return files && createTokenizer(files.json, files.config, files.where);
}

/** tokenizer.json and tokenizer_config.json of a checkpoint, or what stands for them. */
export async function readTokenizer(
  model: ModelFiles,
): Promise<(TokenizerFiles & { readonly where: string }) | undefined> {
  const { folder, gguf } = model;
  const place = whereIs(model);
  if (gguf !== undefined) {
    await using header = await openGguf(folder, gguf);
    const files = ggufTokenizer(place, header);
    return files && { ...files, where: place };
  }
  for (const { needs, read } of formats) {
    if (!needs.every((file) => folder.files.includes(file))) continue;
    const where = `${place}/${needs[0]}`;
    const config = await readConfig(folder);
    return { json: await read(folder, config, where), config, where };
  }
  return undefined;
}

async function readConfig(folder: Folder): Promise<Readonly<Record<string, unknown>>> {
  const has = (file: string): boolean => folder.files.includes(file);
  const config = has(configFile) ? await readJsonFile(folder, configFile, 'NO_TOKENIZER') : {};
  const fields = typeof config === 'object' && config !== null ? { ...config } : {};
  if (!has(templateFile)) return fields;
  return { ...fields, chat_template: await readTextFile(folder, templateFile, 'NO_CHAT_TEMPLATE') };
}

const configFile = 'tokenizer_config.json';
/** Newer folders keep the template apart. */
const templateFile = 'chat_template.jinja';

/** What a folder may have, best first, and the tokenizer.json it stands for. */
const formats: readonly {
  needs: readonly string[];
  read: (folder: Folder, config: unknown, where: string) => Promise<unknown>;
}[] = [
  {
    needs: ['tokenizer.json'],
    read: (folder) => readJsonFile(folder, 'tokenizer.json', 'NO_TOKENIZER'),
  },
  {
    needs: ['vocab.json', 'merges.txt'],
    read: async (folder, config, where) =>
      byteLevelTokenizer(
        await readJsonFile(folder, 'vocab.json', 'NO_TOKENIZER'),
        await readTextFile(folder, 'merges.txt', 'NO_TOKENIZER'),
        config,
        where,
      ),
  },
  {
    needs: ['tokenizer.model'],
    read: async (folder, config, where) => {
      const { bytes } = await readWhole(folder, 'tokenizer.model', 'NO_TOKENIZER');
      return sentencePieceJson(bytes, config, where);
    },
  },
];

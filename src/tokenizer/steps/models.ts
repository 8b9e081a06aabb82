import * as z from 'zod/mini';
import { bpe, bpeFields, byId } from './bpe.ts';
import { type Component, component, makeOf } from './component.ts';
import { unigram, unigramFields } from './unigram.ts';
import { vocabulary } from './vocabulary.ts';

/** Makes tokens of pieces. */
export interface Model {
  /** By token. */
  readonly ids: ReadonlyMap<string, number>;
  /** By id; two ids may have one text, of which `ids` has the last. */
  readonly tokens: ReadonlyMap<number, string>;
  /** Ids of a piece; a text in place of an id is in no token, and there is no token for that. */
  tokenize(piece: string): (number | string)[];
}

/** Every model of tokenizer.json. */
const models: Readonly<Record<string, Component<Model>>> = {
  BPE: component(bpeFields, bpe),
  Unigram: component(unigramFields, unigram),
  WordLevel: component(
    { vocab: vocabulary, unk_token: z.string() },
    ({ vocab: ids, unk_token }) => {
      return {
        ids,
        tokens: byId(ids),
        tokenize: (piece) => [ids.get(piece) ?? ids.get(unk_token) ?? piece],
      };
    },
  ),
  WordPiece: component(
    {
      vocab: vocabulary,
      unk_token: z._default(z.string(), '[UNK]'),
      continuing_subword_prefix: z._default(z.string(), '##'),
      max_input_chars_per_word: z._default(z.int().check(z.minimum(0)), 100),
    },
    ({ vocab: ids, unk_token, continuing_subword_prefix, max_input_chars_per_word }) => {
      const unknown = ids.get(unk_token) ?? unk_token;
      return {
        ids,
        tokens: byId(ids),
        tokenize(piece) {
          const characters = Array.from(piece);
          if (characters.length > max_input_chars_per_word) return [unknown];
          const found: number[] = [];
          for (let start = 0; start < characters.length;) {
            let end = characters.length;
            let id: number | undefined;
            for (; end > start; end--) {
              const part = characters.slice(start, end).join('');
              id = ids.get(start > 0 ? continuing_subword_prefix + part : part);
              if (id !== undefined) break;
            }
            if (id === undefined) return [unknown];
            found.push(id);
            start = end;
          }
          return found;
        },
      };
    },
  ),
};

/** Files from before there were types have none: their fields say what they are. */
export function makeModel(json: unknown): Model {
  const { type, vocab, merges } = Object(json) as Record<string, unknown>;
  const guess = merges ? 'BPE' : Array.isArray(vocab) ? 'Unigram' : 'WordPiece';
  const model = makeOf('model', models, type ? json : { ...Object(json), type: guess });
  if (!model) throw new Error('it has no model');
  return model;
}

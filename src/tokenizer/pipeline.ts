import * as z from 'zod/mini';
import { checked } from '../schema.ts';
import { type AddedToken, addedTokens, TokenFinder } from './steps/added-tokens.ts';
import { type Broken, makeDecoder } from './steps/decoders.ts';
import { makeModel, type Model } from './steps/models.ts';
import { makeNormalizer, type Normal } from './steps/normalizers.ts';
import { makePostProcessor } from './steps/post-processors.ts';
import { makePreTokenizer, type Piece } from './steps/pre-tokenizers.ts';

/** What a tokenizer.json says, made to run: the ids and texts of Hugging Face's `tokenizers`. */
export interface Pipeline {
  /** A text in place of an id is in no token. `special`: with what the post-processor adds. */
  encode(text: string, special: boolean): readonly (number | string)[];
  /** Ids that are none of the vocabulary are left out, special tokens too unless `special`. */
  decode(ids: readonly number[], special: boolean, broken?: Broken): string;
}

const file = z.object({
  added_tokens: z._default(addedTokens, []),
  normalizer: z.unknown(),
  pre_tokenizer: z.unknown(),
  model: z.unknown(),
  post_processor: z.unknown(),
  decoder: z.unknown(),
});

/** Make the steps of a parsed tokenizer.json. Throws an `Error` that names the step which cannot be made. */
export function makePipeline(json: unknown): Pipeline {
  const parsed = checked(file, json);
  if (!parsed.success) throw new Error(z.prettifyError(parsed.error).replaceAll('\n', ' '));
  const { added_tokens: added, ...steps } = parsed.data;
  const normalize = makeNormalizer(steps.normalizer) ?? ((text: Normal) => text);
  const preTokenize = makePreTokenizer(steps.pre_tokenizer) ?? ((piece: Piece) => [piece]);
  const model = makeModel(steps.model);
  const decoders = {
    'whole run': makeDecoder(steps.decoder, 'whole run'),
    alone: makeDecoder(steps.decoder, 'alone'),
  };

  const textOf = (text: string): string => normalize({ text, begins: true }).text;
  const own = numbered(added, model);
  const lookup = (token: string): number | undefined =>
    own.find(({ content }) => content === token)?.id ?? model.ids.get(token);
  const process = makePostProcessor(steps.post_processor, lookup);
  const asWritten = new TokenFinder(own.filter(({ normalized }) => !normalized));
  const asNormalized = new TokenFinder(
    own.filter(({ normalized }) => normalized),
    textOf,
  );

  const texts = new Map(model.tokens);
  // A token that is looked for in normalized texts is one itself.
  for (const { id, content, normalized } of own)
    texts.set(id, normalized ? textOf(content) : content);
  const specials = new Set(own.filter(({ special }) => special).map(({ content }) => content));

  /** Ids of a text in which no token is written out. */
  const encodePlain = (text: string, first: boolean): (number | string)[] =>
    preTokenize({ text, first }).flatMap((piece) => model.tokenize(piece.text));

  const encodeNormalized = (text: string, start: number): (number | string)[] => {
    const normal = normalize({ text, begins: start === 0 });
    return asNormalized
      .divide(normal.text)
      .flatMap((section) =>
        section.token
          ? [section.token.id]
          : encodePlain(section.text, normal.begins && section.start === 0),
      );
  };

  return {
    encode(text, special) {
      const ids = asWritten
        .divide(text)
        .flatMap((section) =>
          section.token ? [section.token.id] : encodeNormalized(section.text, section.start),
        );
      return special && process ? process(ids as number[]) : ids;
    },
    decode(ids, special, broken = 'whole run') {
      const decode = decoders[broken];
      const tokens = ids.flatMap((id) => {
        const token = texts.get(id);
        return token === undefined || (!special && specials.has(token)) ? [] : [token];
      });
      return decode ? decode(tokens).join('') : tokens.join(' ');
    },
  };
}

/**
 * Added tokens with their ids: those of the model where it has them, else numbers beyond it, in order. What the file says is what
 * this gives, unless it leaves numbers out; then the file is not followed, as it is not elsewhere.
 */
function numbered(added: readonly AddedToken[], { ids, tokens: { size } }: Model): AddedToken[] {
  const known = new Map<string, AddedToken>();
  let greatest = -1;
  for (const token of added) {
    if (token.content === '') continue;
    const next = greatest >= size || size === 0 ? greatest + 1 : size;
    const id = known.get(token.content)?.id ?? ids.get(token.content) ?? next;
    known.set(token.content, { ...token, id });
    greatest = Math.max(greatest, id);
  }
  return [...known.values()];
}

import * as z from 'zod/mini';
import { EngineError } from '../errors.ts';
import { checked } from '../schema.ts';
import {
  bpe,
  type Piece,
  type PieceModel,
  pieceTypes,
  type SentencePieceOptions,
  sentencePieceTokenizer,
  unigram,
} from './sentencepiece.ts';

/** What LlamaTokenizer takes from tokenizer_config.json beside the model. */
const settings = z.object({
  add_bos_token: z._default(z.boolean(), true),
  add_eos_token: z._default(z.boolean(), false),
  added_tokens_decoder: z._default(
    z.record(
      z.string().check(z.regex(/^\d{1,7}$/)),
      z.object({
        content: z.string().check(z.minLength(1)),
        special: z._default(z.boolean(), false),
      }),
    ),
    {},
  ),
});

/** The tokenizer.json that a tokenizer.model stands for. Throws `NO_TOKENIZER`. */
export function sentencePieceJson(bytes: Uint8Array, config: unknown, where: string): unknown {
  const { pieces, options, model, beginId, endId } = readSentencePiece(bytes, where);
  const parsed = checked(settings, config);
  if (!parsed.success)
    throw new EngineError(
      'NO_TOKENIZER',
      `${where}: its tokenizer_config.json: ${z.prettifyError(parsed.error)}; expected LlamaTokenizer's; fetch the file again`,
    );
  const { add_bos_token, add_eos_token, added_tokens_decoder } = parsed.data;
  // Tokens that somebody added follow the model's own, without a gap.
  const all = [...pieces];
  for (const [id, { content, special }] of Object.entries(added_tokens_decoder)) {
    const type = special ? pieceTypes.control : pieceTypes.userDefined;
    const at = Number(id);
    if (at > all.length)
      throw new EngineError(
        'NO_TOKENIZER',
        `${where}: token ${id} is added beside ${all.length} others; expected ids without a gap; fetch the files again`,
      );
    all[at] = { text: content, score: 0, type };
  }
  return sentencePieceTokenizer(
    all,
    {
      ...options,
      begin: add_bos_token ? beginId : undefined,
      end: add_eos_token ? endId : undefined,
    },
    model,
    where,
  );
}

/** What a tokenizer.model holds. */
interface SentencePieceModel {
  readonly pieces: readonly Piece[];
  readonly options: Pick<SentencePieceOptions, 'addPrefix' | 'removeSpaces'>;
  readonly model: PieceModel;
  readonly beginId: number;
  readonly endId: number;
}

/**
 * Read a SentencePiece model: a protocol buffer, of which few fields matter here.
 * https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
 *
 * Throws `NO_TOKENIZER`, also for what would be tokenized another way than SentencePiece does it.
 */
function readSentencePiece(bytes: Uint8Array, where: string): SentencePieceModel {
  const refuse = (found: string, expected: string): never => {
    throw new EngineError(
      'NO_TOKENIZER',
      `${where}: ${found}; expected ${expected}; give the tokenizer.json of the same model, or pass token ids (\`Prompt\`)`,
    );
  };
  const damaged = (): never => refuse('is damaged or no SentencePiece model', 'tokenizer.model');
  const all = fieldsOf(bytes, damaged);
  if (![2, 3].every((part) => all.some(({ number }) => number === part))) damaged();
  const trainer = fieldsOf(lastBytes(all, 2), damaged);
  const normalizer = fieldsOf(lastBytes(all, 3), damaged);

  const kind = lastNumber(trainer, 3, 1);
  const model =
    pieceModels[kind] ??
    refuse(`is a model of type ${otherModels[kind] ?? kind}`, 'BPE or Unigram');
  if (lastNumber(trainer, 24, 0)) refuse('puts spaces at the end of words', 'spaces before words');
  if (lastBytes(normalizer, 2).length)
    refuse('normalizes characters by a table', 'texts that are taken as they are');
  if (!lastNumber(normalizer, 5, 1)) refuse('leaves spaces as they are', 'spaces as ▁');

  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const pieces = all.flatMap(({ number, value }): Piece[] => {
    if (number !== 1) return [];
    const fields = fieldsOf(value instanceof Uint8Array ? value : damaged(), damaged);
    const score = lastBytes(fields, 2);
    try {
      return [
        {
          text: text.decode(lastBytes(fields, 1)),
          score: score.length === 4 ? f32At(score) : 0,
          type: lastNumber(fields, 3, pieceTypes.normal),
        },
      ];
    } catch {
      return damaged();
    }
  });
  if (pieces.length === 0) damaged();
  if (pieces.some(({ type }) => type === pieceTypes.unused))
    refuse('has pieces that are not used', 'a model whose pieces all are');
  const options = {
    addPrefix: lastNumber(normalizer, 3, 1) !== 0,
    removeSpaces: lastNumber(normalizer, 4, 1) !== 0,
  };
  // Texts are divided by symbols first, and each part would get its own prefix.
  const symbols = pieces.some(({ type }) => type === pieceTypes.userDefined);
  if (symbols && (options.addPrefix || options.removeSpaces))
    refuse('has symbols of its own and changes spaces', 'one of both');
  // SentencePiece scores them by their length, and may prefer other pieces.
  if (symbols && model === unigram) refuse('has symbols of its own', 'a Unigram model without');
  return {
    pieces,
    options,
    model,
    beginId: lastNumber(trainer, 41, 1),
    endId: lastNumber(trainer, 42, 2),
  };
}

const f32At = ({ buffer, byteOffset }: Uint8Array): number =>
  new DataView(buffer, byteOffset, 4).getFloat32(0, true);

const pieceModels: Readonly<Record<number, PieceModel>> = { 1: unigram, 2: bpe };
const otherModels: Readonly<Record<number, string>> = { 3: 'word', 4: 'char' };

interface Field {
  readonly number: number;
  /** A number of varying length; or bytes: a text, a message, a number of four or eight bytes. */
  readonly value: number | Uint8Array;
}

/** Fields of a message, in order. `damaged` throws where they do not fit their bytes. */
function fieldsOf(bytes: Uint8Array, damaged: () => never): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let place = 0; place < 10; place++) {
      const byte = at < bytes.length ? bytes[at++] : damaged();
      value += (byte & 127) * 2 ** (7 * place);
      if (byte < 128) return value;
    }
    return damaged();
  };
  while (at < bytes.length) {
    const key = varint();
    const [number, wire] = [Math.floor(key / 8), key % 8];
    if (wire === 0) {
      fields.push({ number, value: varint() });
      continue;
    }
    const length = wire === 1 ? 8 : wire === 5 ? 4 : wire === 2 ? varint() : damaged();
    if (length > bytes.length - at) damaged();
    fields.push({ number, value: bytes.subarray(at, at + length) });
    at += length;
  }
  return fields;
}

/** Of a field that occurs several times the last counts. */
function lastNumber(fields: readonly Field[], number: number, otherwise: number): number {
  const value = fields.findLast((field) => field.number === number)?.value;
  return typeof value === 'number' ? value : otherwise;
}

function lastBytes(fields: readonly Field[], number: number): Uint8Array {
  const value = fields.findLast((field) => field.number === number)?.value;
  return value instanceof Uint8Array ? value : new Uint8Array();
}

import { EngineError } from '../errors.ts';

/** What a vocabulary says of a piece; the numbers are those of SentencePiece and of GGUF. */
export const pieceTypes = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const;

export interface Piece {
  /** What became certain with it; may be empty. */
  readonly text: string;
  /** Of BPE: the highest is merged first. Of Unigram: the logarithm of its probability. */
  readonly score: number;
  readonly type: number;
}

export interface SentencePieceOptions {
  /** A text begins with a space. */
  readonly addPrefix: boolean;
  /** Spaces at both ends go, and all but one of those that follow each other. */
  readonly removeSpaces: boolean;
  /** Ids that a text gets before and after. */
  readonly begin: number | undefined;
  readonly end: number | undefined;
}

/** How pieces make up a text: the `model` of a tokenizer.json. */
export type PieceModel = (
  pieces: readonly Piece[],
  ids: Readonly<Record<string, number>>,
) => unknown;

/**
 * SentencePiece merges the two neighbours whose union has the highest score; a merge is every way to
 * divide a piece into two, in order of scores. Characters without a piece become bytes.
 */
export const bpe: PieceModel = (pieces, ids) => ({
  type: 'BPE',
  unk_token: pieces.find(({ type }) => type === pieceTypes.unknown)?.text ?? null,
  fuse_unk: true,
  byte_fallback: pieces.some(({ type }) => type === pieceTypes.byte),
  vocab: ids,
  merges: mergesOf(pieces),
  sentencepiece: true,
});

/** The pieces of the highest scores together, as unigram.ts finds them. */
export const unigram: PieceModel = (pieces) => ({
  type: 'Unigram',
  unk_id: pieces.findIndex(({ type }) => type === pieceTypes.unknown),
  byte_fallback: pieces.some(({ type }) => type === pieceTypes.byte),
  vocab: pieces.map(({ text, score }) => [text, score]),
  sentencepiece: {
    unmatched: pieces.flatMap(({ type }, id) => (type === pieceTypes.normal ? [] : [id])),
  },
});

/** The tokenizer.json that a SentencePiece vocabulary stands for: as Llama 2's was converted. */
export function sentencePieceTokenizer(
  pieces: readonly Piece[],
  { addPrefix, removeSpaces, begin, end }: SentencePieceOptions,
  model: PieceModel,
  where: string,
): unknown {
  const ids = idsOf(pieces, where);
  return {
    normalizer: { type: 'Sequence', normalizers: normalizers(addPrefix, removeSpaces) },
    pre_tokenizer: null,
    post_processor: template(pieces, begin, end),
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(addPrefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    added_tokens: addedTokens(pieces),
    model: model(pieces, ids),
  };
}

/** Ids by text. Throws `NO_TOKENIZER` where a text occurs twice. */
export function idsOf(
  pieces: readonly Pick<Piece, 'text'>[],
  where: string,
): Readonly<Record<string, number>> {
  const ids = new Map<string, number>();
  for (const [id, { text }] of pieces.entries()) {
    if (ids.has(text))
      throw new EngineError(
        'NO_TOKENIZER',
        `${where}: tokens ${ids.get(text)} and ${id} are both ${JSON.stringify(text)}; expected each once; pass token ids (\`Prompt\`)`,
      );
    ids.set(text, id);
  }
  return Object.fromEntries(ids);
}

/** Tokens that a text is divided by before anything is merged. */
export const addedTokens = (pieces: readonly Pick<Piece, 'text' | 'type'>[]): unknown[] =>
  pieces.flatMap(({ text, type }, id) => {
    const special = type === pieceTypes.control || type === pieceTypes.unknown;
    if ((!special && type !== pieceTypes.userDefined) || text === '') return [];
    return [{ id, content: text, special, normalized: false }];
  });

/** What puts tokens around every text. */
export function template(
  pieces: readonly Pick<Piece, 'text'>[],
  begin: number | undefined,
  end: number | undefined,
): unknown {
  const tokens = (id: number | undefined): string[] =>
    id === undefined || pieces[id] === undefined ? [] : [pieces[id].text];
  const special = (text: string): unknown => ({ SpecialToken: { id: text, type_id: 0 } });
  const single = [
    ...tokens(begin).map(special),
    { Sequence: { id: 'A', type_id: 0 } },
    ...tokens(end).map(special),
  ];
  return { type: 'TemplateProcessing', single, pair: [], special_tokens: {} };
}

/** Of a text, not of a line, as ^ and $ are. */
const [start, end] = ['(?<![\\s\\S])', '(?![\\s\\S])'];

function normalizers(addPrefix: boolean, removeSpaces: boolean): unknown[] {
  const replace = (pattern: unknown, content: string): unknown => ({
    type: 'Replace',
    pattern,
    content,
  });
  return [
    ...(removeSpaces ? [replace({ Regex: `${start} +| +${end}| +(?= )` }, '')] : []),
    // A text of spaces alone is none, and gets no prefix.
    ...(addPrefix ? [replace({ Regex: `${start}(?!${end})` }, '▁')] : []),
    replace({ String: ' ' }, '▁'),
  ];
}

function mergesOf(pieces: readonly Piece[]): [string, string][] {
  const merged = ({ type }: Piece): boolean =>
    type === pieceTypes.normal || type === pieceTypes.userDefined;
  const known = new Set(pieces.filter(merged).map(({ text }) => text));
  const inOrder = pieces.filter(merged).sort((a, b) => b.score - a.score);
  return inOrder.flatMap(({ text }) => {
    const characters = Array.from(text);
    const divided: [string, string][] = [];
    for (let i = 1; i < characters.length; i++) {
      const [left, right] = [characters.slice(0, i).join(''), characters.slice(i).join('')];
      // A character is there without having been merged, whether it is a piece or not.
      const there = (part: string, length: number): boolean => length === 1 || known.has(part);
      if (there(left, i) && there(right, characters.length - i)) divided.push([left, right]);
    }
    return divided;
  });
}

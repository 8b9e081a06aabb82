import {
  type PreTokenizeOptions,
  PreTokenizer,
  type Tokenizer as Library,
} from '@huggingface/tokenizers';

/** Pieces up to this length are merged as they are. */
const longPiece = 256;

/**
 * Let a BPE tokenizer that does not split text into words (SentencePiece's, as Llama 2's) take texts of
 * any length: merging a whole text as one piece takes minutes for megabytes.
 *
 * A long piece is cut between characters a and b that stand next to each other in no token. Every
 * merge makes a token, so none ever joins the two sides, and what is merged on one side depends on
 * that side alone: the ids are the same.
 */
export function cutLongPieces(library: Library, json: unknown): void {
  const { model } = json as { model?: Partial<BpeModel> };
  if (model?.type !== 'BPE' || model.end_of_word_suffix || model.continuing_subword_prefix) return;
  library.pre_tokenizer = new CuttingPreTokenizer(library.pre_tokenizer, () => [
    ...library.get_vocab(false).keys(),
  ]);
}

interface BpeModel {
  readonly type: string;
  readonly end_of_word_suffix: string | null;
  readonly continuing_subword_prefix: string | null;
}

class CuttingPreTokenizer extends PreTokenizer {
  readonly inner: PreTokenizer | null;
  readonly tokens: () => readonly string[];
  neighbours: Set<string> | undefined;

  constructor(inner: PreTokenizer | null, tokens: () => readonly string[]) {
    super();
    this.inner = inner;
    this.tokens = tokens;
  }

  override pre_tokenize_text(text: string, options?: PreTokenizeOptions): string[] {
    const pieces = this.inner ? this.inner.pre_tokenize(text, options) : [text];
    if (pieces.every(({ length }) => length <= longPiece)) return pieces;
    const neighbours = (this.neighbours ??= neighbouring(this.tokens()));
    return pieces.flatMap((piece) => (piece.length > longPiece ? cut(piece, neighbours) : [piece]));
  }
}

/** Every pair of characters that stand next to each other in some token. */
function neighbouring(tokens: readonly string[]): Set<string> {
  const pairs = new Set<string>();
  for (const token of tokens) {
    let last = '';
    for (const character of token) {
      if (last) pairs.add(last + character);
      last = character;
    }
  }
  return pairs;
}

function cut(piece: string, neighbours: ReadonlySet<string>): string[] {
  const parts: string[] = [];
  let start = 0;
  let at = 0;
  let last = '';
  for (const character of piece) {
    if (last && !neighbours.has(last + character)) {
      parts.push(piece.slice(start, at));
      start = at;
    }
    at += character.length;
    last = character;
  }
  parts.push(piece.slice(start));
  return parts;
}

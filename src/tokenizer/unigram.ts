import type { Tokenizer as Library } from '@huggingface/tokenizers';

/**
 * Let a Unigram tokenizer divide texts as Hugging Face's and SentencePiece do: the library's knows no bytes
 * for characters without a piece, and copies paths, which is slow for long texts.
 *
 * A text becomes the pieces whose scores add up to the most (Kudo, arXiv 1804.10959, by Viterbi's
 * algorithm); of equal ways to a place, the one whose last piece is longest. A character that is no piece
 * may stand alone, for 10 less than the lowest score: as its UTF-8 bytes, or else as the unknown token.
 */
export function divideByScores(library: Library, json: unknown): void {
  const { model } = json as { model?: Partial<UnigramModel> };
  if (model?.type !== 'Unigram' || !model.vocab) return;
  const { vocab, unk_id, byte_fallback: spells = false, sentencepiece } = model;
  const round = sentencepiece ? Math.fround : (x: number): number => x;
  const unmatched = new Set(sentencepiece?.unmatched);
  const matched = new Map(vocab.filter((_, id) => !unmatched.has(id)));
  const texts = new Set(vocab.map(([text]) => text));
  const lowest = Array.from(matched.values()).reduce((a, b) => Math.min(a, b), Infinity);
  const alone = round(lowest - 10);
  const root = treeOf(matched);

  const spell = (character: string): string[] => {
    const bytes = spells ? Array.from(new TextEncoder().encode(character), nameOfByte) : [];
    if (bytes.length && bytes.every((name) => texts.has(name))) return bytes;
    return [vocab[unk_id ?? -1]?.[0] ?? character];
  };

  const divide = (text: string): string[] => {
    const characters = Array.from(text);
    const best = new Float64Array(characters.length + 1);
    const from = new Int32Array(characters.length + 1).fill(-1);
    for (let start = 0; start < characters.length; start++) {
      const offer = (end: number, score: number): void => {
        const sum = round(best[start] + score);
        if (from[end] >= 0 && sum <= best[end]) return;
        best[end] = sum;
        from[end] = start;
      };
      let node: Node | undefined = root;
      for (let end = start; node; node = node.next.get(characters[end++])) {
        if (node.score !== undefined) offer(end, node.score);
      }
      if (!matched.has(characters[start])) offer(start + 1, alone);
    }
    const pieces: string[] = [];
    for (let end = characters.length; end > 0; end = from[end])
      pieces.push(characters.slice(from[end], end).join(''));
    return pieces.reverse();
  };

  library.model.encode = (parts) =>
    parts.flatMap(divide).flatMap((piece) => (matched.has(piece) ? [piece] : spell(piece)));
}

/** What is read of a tokenizer.json. */
interface UnigramModel {
  readonly type: string;
  readonly unk_id: number | null;
  readonly vocab: readonly (readonly [text: string, score: number])[];
  readonly byte_fallback: boolean;
  /**
   * Of a tokenizer.model alone: ids of pieces that texts are not compared with; sums of scores are
   * those of 32 bits.
   */
  readonly sentencepiece?: { readonly unmatched: readonly number[] };
}

/** The name of a byte among the pieces. */
const nameOfByte = (byte: number): string =>
  `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

/** What begins like a piece, by character; a piece ends where there is a score. */
interface Node {
  readonly next: Map<string, Node>;
  score?: number;
}

function treeOf(pieces: ReadonlyMap<string, number>): Node {
  const root: Node = { next: new Map() };
  for (const [text, score] of pieces) {
    let node = root;
    for (const character of text) {
      const next: Node = node.next.get(character) ?? { next: new Map() };
      node.next.set(character, next);
      node = next;
    }
    if (node !== root) node.score = score;
  }
  return root;
}

import * as z from 'zod/mini';
import { spelled } from './bpe.ts';
import type { Model } from './models.ts';

export const unigramFields = {
  vocab: z.array(z.tuple([z.string(), z.number()])).check(z.minLength(1)),
  unk_id: z.nullish(z.int().check(z.minimum(0))),
  byte_fallback: z._default(z.boolean(), false),
  /**
   * Of a tokenizer.model alone: ids of pieces that texts are not compared with; sums of scores are
   * those of 32 bits.
   */
  sentencepiece: z.optional(z.object({ unmatched: z.array(z.number()) })),
};

/**
 * A text becomes the pieces whose scores add up to the most (Kudo, arXiv 1804.10959, by Viterbi's
 * algorithm); of equal ways to a place, the one whose last piece is longest. A character that is no piece
 * may stand alone, for 10 less than the lowest score: as its UTF-8 bytes, or, with its like around it, as the unknown token.
 */
export function unigram(fields: z.output<z.ZodMiniObject<typeof unigramFields>>): Model {
  const { vocab, unk_id, byte_fallback, sentencepiece } = fields;
  const round = sentencepiece ? Math.fround : (x: number): number => x;
  const unmatched = new Set(sentencepiece?.unmatched);
  const matched = new Map(vocab.filter((_, id) => !unmatched.has(id)));
  const ids = new Map(vocab.map(([text], id) => [text, id]));
  const lowest = Array.from(matched.values()).reduce((a, b) => Math.min(a, b), Infinity);
  const alone = round(lowest - 10);
  const root = treeOf(matched);

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

  const isKnown = (piece: string): boolean => matched.has(piece) && ids.get(piece) !== unk_id;

  /** Pieces as they are, and what is none, or unknown by name, put together. */
  const fused = (pieces: readonly string[]): string[] =>
    pieces.reduce<string[]>((list, piece, i) => {
      const joins = i > 0 && !isKnown(piece) && !isKnown(pieces[i - 1]);
      if (joins) list[list.length - 1] += piece;
      else list.push(piece);
      return list;
    }, []);

  return {
    ids,
    tokens: new Map(vocab.map(([text], id) => [id, text])),
    tokenize: (text) =>
      fused(divide(text)).flatMap((piece) => {
        const id = sentencepiece && !isKnown(piece) ? undefined : ids.get(piece);
        if (id !== undefined) return [id];
        return (byte_fallback && spelled(ids, piece)) || [unk_id ?? piece];
      }),
  };
}

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

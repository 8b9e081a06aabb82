import * as z from 'zod/mini';
import { namesOfBytes } from './bytes.ts';
import type { Model } from './models.ts';
import { merges, vocabulary } from './vocabulary.ts';

const text = z.nullish(z.string());
const flag = z._default(z.boolean(), false);

export const bpeFields = {
  vocab: vocabulary,
  merges,
  unk_token: text,
  fuse_unk: flag,
  byte_fallback: flag,
  ignore_merges: flag,
  continuing_subword_prefix: text,
  end_of_word_suffix: text,
  /** Of a tokenizer.model: what is merged need not be a token, as long as what comes of it is one. */
  sentencepiece: flag,
  dropout: z.nullish(
    z.literal(0, 'merges that are left out by chance give a text other ids each time'),
  ),
};

/** What a piece is made of: an id of the vocabulary, or a text that is in none. */
type Symbol = number | string;

/**
 * Byte-pair encoding (arXiv 1508.07909): the neighbours that were merged first in training are merged first, the leftmost
 * of equals, until no two of them make a token.
 */
export function bpe(fields: z.output<z.ZodMiniObject<typeof bpeFields>>): Model {
  const { unk_token: unknown, byte_fallback, ignore_merges, fuse_unk } = fields;
  const prefix = fields.continuing_subword_prefix ?? '';
  const suffix = fields.end_of_word_suffix ?? '';
  const ids = fields.vocab;
  const pending = fields.sentencepiece
    ? pendingTexts(ids, fields.merges)
    : new Map<string, number>();
  const texts = new Map(Array.from(pending, ([text, id]) => [id, text]));
  const known = pending.size === 0 ? ids : new Map([...ids, ...pending]);
  const pairs = new Merges(known, fields.merges, prefix);

  /** Ids of a text without a token: those of its bytes, or the unknown token's, or the text where there is none. */
  const spell = (text: string): Symbol[] => {
    const bytes = byte_fallback ? spelled(ids, text) : undefined;
    if (bytes) return bytes;
    return [unknown === null || unknown === undefined ? text : (ids.get(unknown) ?? unknown)];
  };

  /** Texts put together; those that follow each other without a token are one unknown, where these fuse. */
  const resolved = (parts: readonly (number | { readonly text: string })[]): Symbol[] =>
    parts.flatMap((part, i) => {
      if (typeof part === 'number') return [part];
      const symbols = spell(part.text);
      const last = parts[i - 1];
      const repeats = fuse_unk && isUnknown(symbols) && typeof last === 'object';
      return repeats && isUnknown(spell(last.text)) ? [] : symbols;
    });
  const isUnknown = (symbols: readonly Symbol[]): boolean =>
    symbols.length === 1 && symbols[0] === ids.get(unknown ?? '');

  const symbolsOf = (piece: string): Symbol[] => {
    const characters = Array.from(piece);
    return resolved(
      characters.map((character, i) => {
        const text =
          (i > 0 ? prefix : '') + character + (i === characters.length - 1 ? suffix : '');
        return ids.get(text) ?? pending.get(text) ?? { text };
      }),
    );
  };

  return {
    ids,
    tokens: byId(ids),
    tokenize(piece) {
      const whole = ignore_merges ? ids.get(piece) : undefined;
      if (whole !== undefined) return [whole];
      const symbols = pairs.apply(symbolsOf(piece));
      if (pending.size === 0) return symbols;
      return resolved(
        symbols.map((symbol) => {
          const text = typeof symbol === 'string' ? symbol : texts.get(symbol);
          return text === undefined ? (symbol as number) : { text };
        }),
      );
    },
  };
}

/** Numbers for texts that are merged and no tokens, beyond all ids. */
function pendingTexts(
  ids: ReadonlyMap<string, number>,
  merges: readonly (readonly [string, string])[],
): Map<string, number> {
  const pending = new Map<string, number>();
  let next = 1 + greatest(ids);
  for (const text of merges.flat())
    if (!ids.has(text) && !pending.has(text)) pending.set(text, next++);
  return pending;
}

const greatest = (ids: ReadonlyMap<string, number>): number =>
  Array.from(ids.values()).reduce((a, b) => Math.max(a, b), 0);

export const byId = (ids: ReadonlyMap<string, number>): Map<number, string> =>
  new Map(Array.from(ids, ([text, id]) => [id, text]));

/** Ids of a character's bytes, where the vocabulary has all of them. */
export function spelled(ids: ReadonlyMap<string, number>, text: string): number[] | undefined {
  const bytes = namesOfBytes(text).map((name) => ids.get(name));
  return bytes.every((id) => id !== undefined) ? bytes : undefined;
}

/** What becomes of two neighbours, by their ids, and when. */
class Merges {
  /** Of left · span + right: the rank and the id made. */
  readonly #pairs = new Map<number, { readonly rank: number; readonly made: number }>();
  readonly #span: number;

  constructor(
    ids: ReadonlyMap<string, number>,
    merges: readonly (readonly [string, string])[],
    prefix: string,
  ) {
    this.#span = 1 + greatest(ids);
    merges.forEach(([left, right], rank) => {
      const [a, b, made] = [left, right, left + right.slice(prefix.length)].map((token) => {
        const id = ids.get(token);
        if (id === undefined)
          throw new Error(`${JSON.stringify(token)} of merge ${rank} is no token`);
        return id;
      });
      this.#pairs.set(a * this.#span + b, { rank, made });
    });
  }

  /** Merge while two neighbours have a rank. O(n log n): neighbours wait in a heap by rank, then by place. */
  apply(symbols: Symbol[]): Symbol[] {
    const n = symbols.length;
    const pairAt = (left: number, right: number) => {
      const [a, b] = [symbols[left], symbols[right]];
      return typeof a === 'number' && typeof b === 'number'
        ? this.#pairs.get(a * this.#span + b)
        : undefined;
    };
    const next = Int32Array.from({ length: n }, (_, i) => i + 1);
    const last = Int32Array.from({ length: n }, (_, i) => i - 1);
    const gone = new Uint8Array(n);
    const waiting = new Heap();
    const offer = (left: number, right: number): void => {
      if (left < 0 || right >= n) return;
      const pair = pairAt(left, right);
      if (pair) waiting.push({ rank: pair.rank, at: left, made: pair.made });
    };
    for (let i = 0; i + 1 < n; i++) offer(i, i + 1);
    for (let top = waiting.pop(); top; top = waiting.pop()) {
      const { at, made } = top;
      const right = next[at];
      // It may have been merged otherwise since.
      if (gone[at] || right >= n || pairAt(at, right)?.made !== made) continue;
      symbols[at] = made;
      gone[right] = 1;
      next[at] = next[right];
      if (next[at] < n) last[next[at]] = at;
      offer(last[at], at);
      offer(at, next[at]);
    }
    return symbols.filter((_, i) => !gone[i]);
  }
}

interface Waiting {
  readonly rank: number;
  readonly at: number;
  readonly made: number;
}

const before = (a: Waiting, b: Waiting): boolean =>
  a.rank < b.rank || (a.rank === b.rank && a.at < b.at);

/** A binary heap, the least rank first, of equal ones the leftmost. */
class Heap {
  readonly #items: Waiting[] = [];

  push(item: Waiting): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(item, items[parent])) break;
      items[at] = items[parent];
      at = parent;
    }
    items[at] = item;
  }

  pop(): Waiting | undefined {
    const items = this.#items;
    const top = items[0];
    const item = items.pop();
    if (item === undefined || items.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && before(items[child + 1], items[child])) child++;
      if (!before(items[child], item)) break;
      items[at] = items[child];
      at = child;
    }
    items[at] = item;
    return top;
  }
}

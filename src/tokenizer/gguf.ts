import { EngineError } from '../errors.ts';
import { Metadata } from '../loaders/gguf/metadata.ts';
import type { GgufHeader } from '../loaders/gguf/reader.ts';
import { formerSplits, type WordSplit, wordSplits } from './word-splits.ts';
import {
  addedTokens,
  idsOf,
  bpe,
  type Piece,
  pieceTypes,
  sentencePieceTokenizer,
  template,
} from './sentencepiece.ts';

/** The files of a Hugging Face folder that a GGUF file's vocabulary stands for. */
export interface TokenizerFiles {
  /** tokenizer.json */
  readonly json: unknown;
  /** tokenizer_config.json */
  readonly config: Readonly<Record<string, unknown>>;
}

/**
 * Translate the vocabulary of a GGUF file; undefined where it has none. Throws `NO_TOKENIZER` where it is
 * of a kind that would be tokenized another way than llama.cpp does it.
 */
export function ggufTokenizer(where: string, header: GgufHeader): TokenizerFiles | undefined {
  const m = new Metadata(where, header);
  const model = m.text('tokenizer.ggml.model');
  if (model === undefined || model === 'none' || model === 'no_vocab') return undefined;
  const make = Object.hasOwn(makers, model) ? makers[model] : undefined;
  if (!make)
    throw refusal(m, `its tokenizer is ${model}`, `one of ${Object.keys(makers).join(', ')}`);
  const pieces = piecesOf(m);
  const token = (key: string): string | undefined => pieces[m.whole(key) ?? -1]?.text;
  return {
    json: make(m, pieces),
    config: {
      ...{ bos_token: token('tokenizer.ggml.bos_token_id') },
      ...{ eos_token: token('tokenizer.ggml.eos_token_id') },
      ...{ chat_template: m.text('tokenizer.chat_template') },
    },
  };
}

/** By `tokenizer.ggml.model`. */
const makers: Readonly<Record<string, (m: Metadata, pieces: readonly Piece[]) => unknown>> = {
  llama: (m, pieces) =>
    sentencePieceTokenizer(
      pieces,
      {
        addPrefix: m.flag('tokenizer.ggml.add_space_prefix') ?? true,
        removeSpaces: m.flag('tokenizer.ggml.remove_extra_whitespaces') ?? false,
        ...around(m, true),
      },
      bpe,
      m.where,
    ),
  gpt2: (m, pieces) => {
    const split = splitOf(m);
    const { begin, end } = around(m, split.addsBegin ?? false);
    const byteLevel = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };
    const isolate = (Regex: string): unknown => ({
      type: 'Split',
      pattern: { Regex },
      behavior: 'Isolated',
      invert: false,
    });
    const merges = m.texts('tokenizer.ggml.merges');
    if (!merges) throw refusal(m, 'has no tokenizer.ggml.merges', 'merges of byte-level BPE');
    return {
      normalizer: null,
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [...split.patterns.map(isolate), byteLevel],
      },
      post_processor: template(pieces, begin, end),
      decoder: byteLevel,
      added_tokens: addedTokens(pieces),
      model: {
        type: 'BPE',
        vocab: idsOf(pieces, m.where),
        merges: merges.map((merge) => divided(m, merge)),
        unk_token: null,
        ignore_merges: split.ignoreMerges ?? false,
      },
    };
  },
};

/** Both sides of a merge; neither is empty, though one may begin with a space. */
function divided(m: Metadata, merge: string): [string, string] {
  const at = merge.indexOf(' ', 1);
  if (at < 0) throw refusal(m, `${JSON.stringify(merge)} is a merge`, 'two tokens');
  return [merge.slice(0, at), merge.slice(at + 1)];
}

function piecesOf(m: Metadata): Piece[] {
  const tokens = m.texts('tokenizer.ggml.tokens') ?? [];
  const scores = m.numbers('tokenizer.ggml.scores');
  const types = m.numbers('tokenizer.ggml.token_type');
  for (const [name, list] of [
    ['scores', scores],
    ['token_type', types],
  ] as const)
    if (list && list.length !== tokens.length)
      throw refusal(m, `has ${list.length} ${name}`, `${tokens.length}, one for each token`);
  return tokens.map((text, id) => ({
    text,
    score: scores?.[id] ?? 0,
    type: types?.[id] ?? pieceTypes.normal,
  }));
}

/** Ids that every text gets before and after. */
function around(
  m: Metadata,
  addsBegin: boolean,
): { begin: number | undefined; end: number | undefined } {
  const begins = m.flag('tokenizer.ggml.add_bos_token') ?? addsBegin;
  const ends = m.flag('tokenizer.ggml.add_eos_token') ?? false;
  return {
    begin: begins ? m.whole('tokenizer.ggml.bos_token_id') : undefined,
    end: ends ? m.whole('tokenizer.ggml.eos_token_id') : undefined,
  };
}

function splitOf(m: Metadata): WordSplit {
  const former = formerSplits[m.architecture];
  const name = m.text('tokenizer.ggml.pre') ?? former;
  const split = wordSplits.find(({ names }) => name !== undefined && names.includes(name));
  if (split) return split;
  const known = wordSplits.flatMap(({ names }) => names).join(', ');
  throw refusal(m, `its tokenizer.ggml.pre is ${name ?? 'absent'}`, `one of ${known}`);
}

const refusal = (m: Metadata, found: string, expected: string): EngineError =>
  new EngineError(
    'NO_TOKENIZER',
    `${m.where}: ${found}; expected ${expected}; pass token ids (\`Prompt\`)`,
  );

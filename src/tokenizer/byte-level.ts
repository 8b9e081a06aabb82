import * as z from 'zod';
import { EngineError } from '../errors.ts';

const vocabulary = z.record(z.string(), z.int().min(0));

/** A special token: its text, or an object that holds it. */
const special = z
  .union([z.string(), z.object({ content: z.string() }).transform(({ content }) => content)])
  .nullish();

/** transformers' GPT2Tokenizer takes these where a configuration says nothing. */
const settings = z.object({
  add_prefix_space: z.boolean().default(false),
  add_bos_token: z.boolean().default(false),
  bos_token: special.default('<|endoftext|>'),
  eos_token: special.default('<|endoftext|>'),
  unk_token: special.default('<|endoftext|>'),
  pad_token: special,
});

/** The tokenizer.json that a GPT-2 style vocab.json and merges.txt stand for. Throws `NO_TOKENIZER`. */
export function byteLevelTokenizer(
  vocab: unknown,
  merges: string,
  config: unknown,
  where: string,
): unknown {
  const parsed = z.object({ vocab: vocabulary, config: settings }).safeParse({ vocab, config });
  if (!parsed.success)
    throw new EngineError(
      'NO_TOKENIZER',
      `${where}: ${z.prettifyError(parsed.error)}; expected ids by token; fetch the file again`,
    );
  const { bos_token: bos, eos_token, unk_token, pad_token, ...options } = parsed.data.config;
  const ids = new Map(Object.entries(parsed.data.vocab));
  const names = [...new Set([bos, eos_token, unk_token, pad_token])];
  const specials = names.flatMap((content) => {
    const id = content ? ids.get(content) : undefined;
    return id === undefined ? [] : [{ id, content, special: true, normalized: false }];
  });
  const bosId = bos ? ids.get(bos) : undefined;
  const text = { Sequence: { id: 'A', type_id: 0 } };
  const byteLevel = { type: 'ByteLevel', add_prefix_space: options.add_prefix_space };
  return {
    normalizer: null,
    pre_tokenizer: { ...byteLevel, use_regex: true },
    post_processor:
      options.add_bos_token && bosId !== undefined
        ? {
            type: 'TemplateProcessing',
            single: [{ SpecialToken: { id: bos, type_id: 0 } }, text],
            pair: [],
            special_tokens: { [bos!]: { id: bos, ids: [bosId], tokens: [bos] } },
          }
        : byteLevel,
    decoder: byteLevel,
    added_tokens: specials,
    model: {
      type: 'BPE',
      vocab: parsed.data.vocab,
      merges: merges.split(/\r?\n/).filter((line) => line && !line.startsWith('#version')),
      unk_token: null,
    },
  };
}

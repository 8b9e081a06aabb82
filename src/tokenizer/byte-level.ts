import * as z from 'zod/mini';
import { EngineError } from '../errors.ts';
import { checked } from '../schema.ts';

const vocabulary = z.record(z.string(), z.int().check(z.minimum(0)));

/** A special token: its text, or an object that holds it. */
const special = z.nullish(
  z.union([
    z.string(),
    z.pipe(
      z.object({ content: z.string() }),
      z.transform(({ content }) => content),
    ),
  ]),
);

/** transformers' GPT2Tokenizer takes these where a configuration says nothing. */
const settings = z.object({
  add_prefix_space: z._default(z.boolean(), false),
  add_bos_token: z._default(z.boolean(), false),
  bos_token: z._default(special, '<|endoftext|>'),
  eos_token: z._default(special, '<|endoftext|>'),
  unk_token: z._default(special, '<|endoftext|>'),
  pad_token: special,
});

/** The tokenizer.json that a GPT-2 style vocab.json and merges.txt stand for. Throws `NO_TOKENIZER`. */
export function byteLevelTokenizer(
  vocab: unknown,
  merges: string,
  config: unknown,
  where: string,
): unknown {
  const parsed = checked(z.object({ vocab: vocabulary, config: settings }), { vocab, config });
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

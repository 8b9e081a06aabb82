/**
 * The part of @huggingface/tokenizers that is used. Its own declarations import without file
 * extensions, which `NodeNext` cannot follow.
 */
declare module '@huggingface/tokenizers' {
  export class Tokenizer {
    constructor(tokenizer: object, config: object);
    pre_tokenizer: PreTokenizer | null;
    readonly decoder: Decoder | null;
    /** `encode`: the tokens of parts of a text; what is none of the vocabulary is unknown. */
    readonly model: { encode(parts: readonly string[]): string[] };
    encode(
      text: string,
      options: { add_special_tokens: boolean },
    ): { ids: (number | undefined | null)[]; tokens: string[] };
    decode(
      ids: readonly number[],
      options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean },
    ): string;
    id_to_token(id: number): string | undefined;
    get_vocab(withAddedTokens: boolean): Map<string, number>;
  }

  export class Decoder {
    /** Of a sequence. */
    readonly decoders?: readonly Decoder[];
  }

  export class ByteFallbackDecoder extends Decoder {
    text_decoder: TextDecoder;
  }

  export abstract class PreTokenizer {
    pre_tokenize(text: string, options?: PreTokenizeOptions): string[];
    abstract pre_tokenize_text(text: string, options?: PreTokenizeOptions): string[];
  }

  export interface PreTokenizeOptions {
    /** Which part of a text that special tokens divide. */
    section_index?: number;
  }
}

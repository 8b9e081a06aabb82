import { ByteFallbackDecoder, type Tokenizer as Library } from '@huggingface/tokenizers';

/** Let U+FEFF that is spelled in bytes be part of the text: the library takes it for a mark of the encoding. */
export function keepByteOrderMarks({ decoder }: Library): void {
  for (const part of [decoder, ...(decoder?.decoders ?? [])])
    if (part instanceof ByteFallbackDecoder)
      part.text_decoder = new TextDecoder('utf-8', { ignoreBOM: true });
}

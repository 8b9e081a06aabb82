/** The character that stands for each byte in byte-level vocabularies (GPT-2's): printable ones for themselves. */
export const characterOfByte: readonly string[] = ((): string[] => {
  let extra = 256;
  return Array.from({ length: 256 }, (_, byte) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
      ? String.fromCharCode(byte)
      : String.fromCharCode(extra++),
  );
})();

/** The byte that a character stands for. */
export const byteOfCharacter: ReadonlyMap<string, number> = new Map(
  characterOfByte.map((character, byte) => [character, byte]),
);

const utf8 = new TextEncoder();

/** A text with each byte of its UTF-8 as the character that stands for it. */
export function spellBytes(text: string): string {
  let spelled = '';
  for (const byte of utf8.encode(text)) spelled += characterOfByte[byte];
  return spelled;
}

/** The name of a byte among pieces that spell bytes: `<0x0A>`. */
export const nameOfByte = (byte: number): string =>
  `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

/** The names of a text's bytes. */
export const namesOfBytes = (text: string): string[] => Array.from(utf8.encode(text), nameOfByte);

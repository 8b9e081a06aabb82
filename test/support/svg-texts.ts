/** Throws where the text is not well-formed XML; returns its texts, decoded. */
export function textsOf(xml: string): string[] {
  const open: string[] = [];
  const texts: string[] = [];
  let rest = xml;
  while (rest.trim() !== '') {
    const [whole, content, slash, name, attributes, empty] =
      /^([^<]*)<(\/?)([\w-]+)((?:\s+[\w:-]+="[^"<&]*(?:&#\d+;[^"<&]*)*")*)\s*(\/?)>/.exec(rest) ??
      [];
    if (whole === undefined) throw new Error(`not a tag: ${rest.slice(0, 60)}`);
    if (/&(?!#\d+;)/.test(content)) throw new Error(`a bare ampersand: ${content}`);
    if (content.trim() !== '' && open.length === 0) throw new Error(`outside: ${content}`);
    texts.push(content.replaceAll(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code))));
    if (slash && (attributes || open.pop() !== name)) throw new Error(`closes ${name}`);
    if (!slash && !empty) open.push(name);
    rest = rest.slice(whole.length);
  }
  if (open.length) throw new Error(`unclosed: ${open.join(', ')}`);
  return texts.map((one) => one.trim()).filter((one) => one !== '');
}

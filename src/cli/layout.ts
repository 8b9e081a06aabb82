/** Numbers and tables for people. */

export const percent = (share: number, digits = 1): string => `${(100 * share).toFixed(digits)} %`;

export const rate = (perSecond: number): string =>
  perSecond.toFixed(perSecond < 10 ? 2 : perSecond < 100 ? 1 : 0);

export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit++;
  }
  return `${unit === 0 ? Math.round(count) : count.toFixed(2)} ${units[unit]}`;
}

/** Rows of cells in aligned columns: the first to the left, others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

/** Names and values, one pair a line. */
export function facts(pairs: readonly (readonly [string, string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join('');
}

/** Lines of at most `width` characters, broken at spaces. */
export function wrap(text: string, width: number): string[] {
  return text.split('\n').flatMap((paragraph) => {
    const lines = [''];
    for (const word of paragraph.split(' ')) {
      const line = lines[lines.length - 1];
      if (line === '') lines[lines.length - 1] = word;
      else if (line.length + 1 + word.length <= width) lines[lines.length - 1] += ` ${word}`;
      else lines.push(word);
    }
    return lines;
  });
}

/** Two texts next to each other under their titles. */
export function sideBySide(left: [string, string], right: [string, string], width: number): string {
  const column = Math.max(20, Math.floor((width - 3) / 2));
  const [a, b] = [left, right].map(([title, text]) => [
    title,
    '─'.repeat(column),
    ...wrap(text, column),
  ]);
  const lines: string[] = [];
  for (let i = 0; i < Math.max(a.length, b.length); i++)
    lines.push(`${(a[i] ?? '').padEnd(column)} │ ${b[i] ?? ''}`.trimEnd());
  return `${lines.join('\n')}\n`;
}

/**
 * Known names that are like one of `names`, the likest first: at most half of the longer one's letters and digits differ, by edit
 * distance. Case and other characters do not count.
 */
export function nearest(names: readonly string[], known: readonly string[]): string[] {
  const plain = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, '');
  const asked = names.map((name) => plain(name.slice(0, 100))).filter((name) => name !== '');
  const shares = known.map((name) => {
    const other = plain(name);
    const far = asked.map(
      (one) => editDistance(one, other) / Math.max(one.length, other.length, 1),
    );
    return [name, Math.min(1, ...far)] as const;
  });
  return shares
    .filter(([, share]) => share <= 0.5)
    .sort(([, a], [, b]) => a - b)
    .map(([name]) => name);
}

/** Fewest letters to put in, leave out or replace, from one text to the other. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 0; i < from.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < to.length; j++)
      next.push(Math.min(next[j] + 1, row[j + 1] + 1, row[j] + Number(from[i] !== to[j])));
    row = next;
  }
  return row[to.length];
}

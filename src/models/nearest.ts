import { distance } from '../nearest.ts';

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
      (one) => distance(one, other) / Math.max(one.length, other.length, 1),
    );
    return [name, Math.min(1, ...far)] as const;
  });
  return shares
    .filter(([, share]) => share <= 0.5)
    .sort(([, a], [, b]) => a - b)
    .map(([name]) => name);
}

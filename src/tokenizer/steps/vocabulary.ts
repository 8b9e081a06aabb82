import * as z from 'zod/mini';

const wrong = (context: { issues: z.core.$ZodRawIssue[]; value: unknown }, message: string) => {
  context.issues.push({ code: 'custom', input: context.value, message });
  return z.NEVER;
};

/** Ids by token. Looped over by hand: a check for each of a hundred thousand tokens takes as long as all else. */
export const vocabulary = z.pipe(
  z.custom<Readonly<Record<string, unknown>>>(
    (json) => typeof json === 'object' && json !== null && !Array.isArray(json),
    'ids by token expected',
  ),
  z.transform((json, context): ReadonlyMap<string, number> => {
    const ids = new Map<string, number>();
    for (const token of Object.keys(json)) {
      const id = json[token];
      if (!Number.isInteger(id) || (id as number) < 0)
        return wrong(
          context,
          `${JSON.stringify(token)} has the id ${JSON.stringify(id)}, expected a whole number`,
        );
      ids.set(token, id as number);
    }
    return ids;
  }),
);

/** Merges of two tokens: a pair, or a line with a space between them. */
export const merges = z.pipe(
  z.custom<readonly unknown[]>((json) => Array.isArray(json), 'merges expected'),
  z.transform((json, context): readonly (readonly [string, string])[] => {
    const pairs: [string, string][] = [];
    for (const merge of json) {
      const parts: unknown = typeof merge === 'string' ? merge.split(' ') : merge;
      const isPair =
        Array.isArray(parts) &&
        parts.length === 2 &&
        parts.every((part) => typeof part === 'string');
      if (!isPair) return wrong(context, `${JSON.stringify(merge)} is no merge of two tokens`);
      pairs.push(parts as [string, string]);
    }
    return pairs;
  }),
);

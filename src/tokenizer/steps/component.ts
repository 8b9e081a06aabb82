import * as z from 'zod/mini';
import { checked } from '../../schema.ts';

/** How one kind of a step of tokenizer.json is read and made; `T` is what runs. */
export interface Component<T> {
  make(json: unknown): T;
}

/** A component whose fields are checked before it is made; what is not declared is not looked at. */
export const component = <S extends z.core.$ZodShape, T>(
  fields: S,
  make: (fields: z.output<z.ZodMiniObject<S>>) => T,
): Component<T> => ({
  make(json) {
    const parsed = checked(z.object(fields), json);
    if (!parsed.success) throw new Error(z.prettifyError(parsed.error).replaceAll('\n', ' '));
    return make(parsed.data);
  },
});

/** Make what `json` asks for by its `type`; undefined for null. Throws where the type is not known. */
export function makeOf<T>(
  what: string,
  table: Readonly<Record<string, Component<T>>>,
  json: unknown,
): T | undefined {
  if (json === null || json === undefined) return undefined;
  const { type } = Object(json) as { type?: unknown };
  const known = typeof type === 'string' && Object.hasOwn(table, type) ? table[type] : undefined;
  if (!known)
    throw new Error(
      `its ${what} is ${JSON.stringify(type)}, known are ${Object.keys(table).join(', ')}`,
    );
  try {
    return known.make(json);
  } catch (cause) {
    throw new Error(`${what} ${String(type)}: ${(cause as Error).message}`, { cause });
  }
}

import * as z from 'zod/mini';
import english from 'zod/v4/locales/en.js';

/** Handed to each check, so that nothing is set for all of a program's. */
const { localeError: error } = english();

/** Check what came from outside; what is wrong with it is said in English, which `zod/mini` has none of. */
export const checked = <S extends z.ZodMiniType>(
  schema: S,
  json: unknown,
): z.core.util.SafeParseResult<z.output<S>> => schema.safeParse(json, { error });

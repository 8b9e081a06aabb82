import * as z from 'zod/mini';
import { type Component, component, makeOf } from './component.ts';

/** Puts a text's special tokens around its ids. */
export type PostProcessor = (ids: readonly number[]) => readonly number[];

/** The id of a token that a template names. */
type Lookup = (token: string) => number | undefined;

const part = z.union([
  z.object({ SpecialToken: z.object({ id: z.string() }) }),
  z.object({ Sequence: z.object({ id: z.enum(['A', 'B']) }) }),
]);
const named = z.tuple([z.string(), z.int().check(z.minimum(0))]);

/** Every post-processor of tokenizer.json; what they say of two texts and of offsets is not used. */
const postProcessors = (lookup: Lookup): Readonly<Record<string, Component<PostProcessor>>> => ({
  ByteLevel: component({}, () => (ids) => ids),
  BertProcessing: component({ sep: named, cls: named }, around),
  RobertaProcessing: component({ sep: named, cls: named }, around),
  TemplateProcessing: component(
    {
      single: z.array(part),
      special_tokens: z._default(
        z.record(z.string(), z.object({ ids: z.array(z.int().check(z.minimum(0))) })),
        {},
      ),
    },
    ({ single, special_tokens }) => {
      const parts = single.map((part) => {
        if ('Sequence' in part) return undefined;
        const { id: name } = part.SpecialToken;
        const known = Object.hasOwn(special_tokens, name) ? special_tokens[name].ids : undefined;
        const ids = known ?? [lookup(name)];
        if (ids.some((id) => id === undefined))
          throw new Error(`${JSON.stringify(name)} of its template is no token`);
        return ids as number[];
      });
      return (ids) => parts.flatMap((part) => part ?? ids);
    },
  ),
  Sequence: component({ processors: z.array(z.unknown()) }, ({ processors }) => {
    const adding = processors.filter(
      (json) => (Object(json) as { type?: unknown }).type !== 'ByteLevel',
    );
    if (adding.length > 1) throw new Error('two of its processors add tokens');
    const steps = processors.map((json) => makePostProcessor(json, lookup)!);
    return (ids) => steps.reduce((before, step) => step(before), ids);
  }),
});

const around =
  ({ cls, sep }: { cls: z.output<typeof named>; sep: z.output<typeof named> }): PostProcessor =>
  (ids) => [cls[1], ...ids, sep[1]];

export const makePostProcessor = (json: unknown, lookup: Lookup): PostProcessor | undefined =>
  makeOf('post-processor', postProcessors(lookup), json);

import * as z from 'zod/mini';
import { choices } from '../choices.ts';

/** Physical common sense (Bisk and others, arXiv 1911.11641): which of two ways reaches a goal. */
export const piqa = choices({
  name: 'piqa',
  summary: 'physical common sense: which of two ways reaches a goal',
  version: 1,
  items: {
    file: 'piqa.jsonl',
    // `query` is `Question: …` with its line break.
    item: z.object({
      query: z.string(),
      choices: z.tuple([z.string(), z.string()]),
      gold: z.int().check(z.minimum(0), z.maximum(1)),
    }),
  },
  ask: ({ query, choices, gold }) => ({ context: `${query}Answer:`, choices, gold }),
});

import * as z from 'zod/mini';
import { Likelihoods } from '../likelihood.ts';
import { meanOf } from '../metrics.ts';
import { defineTask } from '../task.ts';

/**
 * The last word of passages that people guess with all of the passage alone (LAMBADA, arXiv 1606.06031; the passages as
 * OpenAI wrote them).
 *
 * acc: share of words of which each id is the likeliest. perplexity: of words, not of ids; its error by first order.
 */
export const lambadaOpenai = defineTask({
  name: 'lambada_openai',
  summary: 'the last word of a passage, which takes all of the passage to guess',
  version: 1,
  items: {
    file: 'lambada_openai.jsonl',
    item: z.object({ context: z.string(), continuation: z.string() }),
  },
  async run(engine, _, run) {
    const right: number[] = [];
    const losses: number[] = [];
    let shortened = 0;
    using likelihoods = new Likelihoods(engine, run);
    for (const { context, continuation } of run.items) {
      const found = await likelihoods.of(context, ` ${continuation}`);
      right.push(Number(found.greedy));
      losses.push(-found.logprob);
      if (found.shortened) shortened++;
      run.onProgress(right.length / run.items.length);
    }
    const { nll, nll_stderr } = meanOf('nll', losses);
    const perplexity = Math.exp(nll);
    return {
      metrics: {
        ...{ perplexity, ...(nll_stderr && { perplexity_stderr: perplexity * nll_stderr }) },
        ...meanOf('acc', right),
      },
      n: right.length,
      ...(shortened > 0 && { shortened }),
    };
  },
});

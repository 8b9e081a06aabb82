import type { Session } from '../../engine/session.ts';
import { EngineError } from '../../errors.ts';
import { textIds } from '../ids.ts';
import { type CurvePoint, defineTask, type TaskRun } from '../task.ts';

/**
 * How well one text that goes on and on is predicted, as the KV policy lets the model see it (StreamingLLM,
 * arXiv 2309.17453, section 4.1): no windows, nothing truncated; texts follow one another without a BOS.
 *
 * Every token goes through the decode path, one a step. Where the policy's windows alone decide what stays,
 * and nothing is sparse, `rows` tokens a step see the same, and only the last of each point is decoded by itself.
 * A policy whose texts end with the context ends it there. nll: mean over scored ids, in nats; points of the
 * curve are of their own tokens alone.
 */
export const streamPerplexity = defineTask({
  name: 'stream-perplexity',
  summary:
    'perplexity, time and memory over one text that never ends, token by token as `kv` lets the model see it',
  version: 1,
  options: {
    /** Tokens of one point of a curve. */
    bucket: { kind: 'whole', least: 1, help: 'tokens of a point of its curve (default: 10000)' },
    /** Tokens a step. */
    rows: {
      kind: 'whole',
      least: 1,
      help: 'tokens a step where that changes nothing but the time (default: 1)',
    },
  },
  hasCurve: true,
  async run(engine, options, run) {
    const { bucket = 10_000, rows = 1 } = options;
    const { limit = Infinity } = run;
    if (rows > 1) expectWindowsAlone(run);
    const ids = textIds('stream-perplexity', engine, run);
    const n = Math.min(ids.length - 1, limit, engine.context);
    const curve: CurvePoint[] = [];
    let sum = 0;
    using session = run.session();
    for (let done = 0; done < n;) {
      const count = Math.min(bucket, n - done);
      const before = performance.now();
      const loss = await score(session, ids.subarray(done, done + count + 1), rows, {
        ...run,
        onProgress: (share) => run.onProgress((done + share * count) / n),
      });
      const milliseconds = performance.now() - before;
      sum += loss;
      done += count;
      const point = {
        tokens: done,
        perplexity: Math.exp(loss / count),
        msPerToken: milliseconds / count,
        residentBytes: session.cache.residentBytes,
        ...(run.rssBytes && { rssBytes: run.rssBytes() }),
      };
      curve.push(point);
      run.onPoint?.(point);
    }
    const nll = sum / n;
    const ended = n === limit ? 'limit' : n === ids.length - 1 ? 'text' : 'context';
    return { metrics: { perplexity: Math.exp(nll), nll, tokens: n }, n, curve, ended };
  },
});

/** Go on with all ids but the last; returns the sum of the losses of all but the first, in nats. */
async function score(
  session: Session,
  ids: Int32Array,
  rows: number,
  { usage, signal, onProgress }: TaskRun,
): Promise<number> {
  const last = ids.length - 1;
  let sum = 0;
  for (let at = 0; at < last;) {
    signal?.throwIfAborted();
    const end = Math.min(at + rows, last - 1);
    if (rows > 1 && end > at) {
      const losses = await session.score(ids.subarray(at, end), ids.subarray(at + 1, end + 1));
      for (const loss of losses) sum += loss;
      at = end;
    } else {
      sum += await session.scoreDecode(ids[at], ids[at + 1]);
      usage.add(await session.usage(), session.denseBytes());
      at++;
    }
    onProgress(at / last);
  }
  return sum;
}

function expectWindowsAlone({ policy, method }: TaskRun): void {
  const ranks = policy.keeps === 'ranked' || policy.keeps === 'chosen';
  const reason = ranks
    ? `\`kv\` ${policy.name} ranks tokens in each step`
    : !method.computesAll && `\`sparsity\` ${method.name} chooses for one token a step`;
  if (!reason) return;
  throw new EngineError(
    'BAD_REQUEST',
    `\`rows\`: ${reason}, so several tokens a step would be another computation; expected \`rows\` 1; leave it out`,
  );
}

import { EngineError } from '../../errors.ts';
import { evaluate, type EvaluateResult } from '../../eval/evaluate.ts';
import { plotCurves } from '../../plot/curves.ts';
import type { CurvePoint } from '../../eval/task.ts';
import { findTask } from '../../eval/tasks/index.ts';
import { command } from '../command.ts';
import { draw } from '../draw.ts';
import { evalFlags, methodFlags, modelFlags } from '../flags.ts';
import { note } from '../io.ts';
import { bytes, facts, percent } from '../layout.ts';
import { openEngine, readTexts } from '../open.ts';
import { startProgress } from '../progress.ts';

export const evalCommand = command({
  name: 'eval',
  summary: 'measure quality, computing as generation does',
  model: 'required',
  flags: { ...evalFlags, ...modelFlags, ...methodFlags },
  async run({ model, flags, io }) {
    const { tasks, text: paths, limit, window, stride, bucket, rows, plot, ...options } = flags;
    if (!tasks)
      throw new EngineError(
        'BAD_REQUEST',
        '--tasks is missing, expected what to measure: --tasks perplexity --text FILE',
      );
    if (plot !== undefined && !tasks.map(findTask).some(({ hasCurve }) => hasCurve))
      throw new EngineError(
        'BAD_REQUEST',
        `--plot is given, but none of ${tasks.join(', ')} has a curve; expected stream-perplexity; leave it out`,
      );
    const text = paths && (await readTexts(paths));
    await using engine = await openEngine(model!, options, io);
    using progress = startProgress(io);
    let latest = '';
    const result = await evaluate(engine, tasks, {
      ...(text !== undefined && { text }),
      ...(limit !== undefined && { limit }),
      ...(window !== undefined && { window }),
      ...(stride !== undefined && { stride }),
      ...(bucket !== undefined && { bucket }),
      ...(rows !== undefined && { rows }),
      signal: io.signal,
      rssBytes: () => process.memoryUsage.rss(),
      onProgress: (task, share) => progress.update(share, latest || task),
      onPoint: (task, point) => {
        latest = `${task}: ${describePoint(point)}`;
        if (!io.stderr.isTTY) note(io, latest);
      },
    });
    const failure = plot === undefined ? undefined : await draw(plot, plotCurves(result));
    return { result, text: describe(result), ...(failure && { failure }) };
  },
});

const describePoint = (point: CurvePoint): string =>
  [
    `${point.tokens} tokens`,
    `perplexity ${point.perplexity.toFixed(3)}`,
    `${point.msPerToken.toFixed(2)} ms a token`,
    `cache ${bytes(point.residentBytes)}`,
    ...(point.rssBytes === undefined ? [] : [`process ${bytes(point.rssBytes)}`]),
  ].join(' · ');

const ends = {
  text: 'at the end of the text',
  limit: 'at the limit',
  context: 'at the end of the context',
};

function describe({ results, density, bytesPerToken, timing }: EvaluateResult): string {
  const metrics = Object.entries(results).flatMap(([task, { metrics, ended }]) => [
    ...Object.entries(metrics).map(([name, value]): [string, string] => [
      name === task ? name : `${task} ${name}`,
      Number.isInteger(value) ? String(value) : value.toFixed(4),
    ]),
    ...(ended ? [[`${task} ended`, ends[ended]] as const] : []),
  ]);
  return facts([
    ...metrics,
    ['neurons computed', percent(density.neurons)],
    ['heads computed', percent(density.heads)],
    [
      'weights read a token',
      `${bytes(bytesPerToken.weights)} (dense ${bytes(bytesPerToken.dense)})`,
    ],
    ['predictor read a token', bytes(bytesPerToken.predictor)],
    ['cache read a token', bytes(bytesPerToken.kv)],
    ['seconds', timing.seconds.toFixed(1)],
  ]);
}

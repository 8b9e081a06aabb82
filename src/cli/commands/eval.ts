import { EngineError } from '../../errors.ts';
import { expectAsked } from '../../eval/asked.ts';
import { evaluate, type EvaluateResult } from '../../eval/evaluate.ts';
import { readInputs } from '../../eval/local.ts';
import { plotCurves } from '../../plot/curves.ts';
import type { CurvePoint } from '../../eval/task.ts';
import { findTask, type KnownOptions } from '../../eval/tasks/index.ts';
import { command } from '../command.ts';
import { draw } from '../draw.ts';
import { evalFlags, methodFlags, modelFlags, taskFlags } from '../flags.ts';
import { note } from '../io.ts';
import { bytes, facts, percent } from '../layout.ts';
import { openEngine } from '../open.ts';
import { startProgress } from '../progress.ts';

export const evalCommand = command({
  name: 'eval',
  summary: 'measure quality, computing as generation does',
  model: 'required',
  flags: { ...evalFlags, ...taskFlags, ...modelFlags, ...methodFlags },
  async run({ model, flags, io }) {
    const { tasks, text: files, data, limit, plot, ...others } = flags;
    if (!tasks)
      throw new EngineError(
        'BAD_REQUEST',
        '--tasks is missing, expected what to measure: --tasks perplexity --text FILE, or --tasks piqa --data FOLDER',
      );
    if (plot !== undefined && !tasks.map(findTask).some(({ hasCurve }) => hasCurve))
      throw new EngineError(
        'BAD_REQUEST',
        `--plot is given, but none of ${tasks.join(', ')} has a curve; expected stream-perplexity; leave it out`,
      );
    const [ofTasks, options] = parted(others);
    expectAsked(tasks.map(findTask), { ...ofTasks, text: files, data, limit });
    const asked = {
      ...ofTasks,
      ...(await readInputs({ ...(files && { files }), ...(data !== undefined && { data }) })),
      ...(limit !== undefined && { limit }),
    };
    await using engine = await openEngine(model!, options, io);
    using progress = startProgress(io);
    let latest = '';
    const result = await evaluate(engine, tasks, {
      ...asked,
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

/** Flags in two: those of tasks, and the others. */
function parted<F extends object>(flags: F): [KnownOptions, F] {
  const entries = Object.entries(flags);
  const of = (tasks: boolean): object =>
    Object.fromEntries(entries.filter(([name]) => name in taskFlags === tasks));
  return [of(true), of(false) as F];
}

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
  const metrics = Object.entries(results).flatMap(([task, { metrics, ended, n, shortened }]) => [
    ...Object.entries(metrics).map(([name, value]): [string, string] => [
      name === task ? name : `${task} ${name}`,
      Number.isInteger(value) && value > 1 ? String(value) : value.toFixed(4),
    ]),
    [`${task} scored`, String(n)] as const,
    ...(shortened ? [[`${task} contexts shortened`, String(shortened)] as const] : []),
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

import { EngineError } from '../../errors.ts';
import { evaluate, type EvaluateResult } from '../../eval/evaluate.ts';
import { command } from '../command.ts';
import { evalFlags, methodFlags, modelFlags } from '../flags.ts';
import { bytes, facts, percent } from '../layout.ts';
import { openEngine, readText } from '../open.ts';
import { startProgress } from '../progress.ts';

export const evalCommand = command({
  name: 'eval',
  summary: 'measure quality, computing as generation does',
  model: 'required',
  flags: { ...evalFlags, ...modelFlags, ...methodFlags },
  async run({ model, flags, io }) {
    const { tasks, text: path, limit, window, stride, ...options } = flags;
    if (!tasks)
      throw new EngineError(
        'BAD_REQUEST',
        '--tasks is missing, expected what to measure: --tasks perplexity --text FILE',
      );
    const text = path === undefined ? undefined : await readText(path);
    await using engine = await openEngine(model!, options, io);
    using progress = startProgress(io);
    const result = await evaluate(engine, tasks, {
      ...(text !== undefined && { text }),
      ...(limit !== undefined && { limit }),
      ...(window !== undefined && { window }),
      ...(stride !== undefined && { stride }),
      signal: io.signal,
      onProgress: (task, share) => progress.update(share, task),
    });
    return { result, text: describe(result) };
  },
});

function describe({ results, density, bytesPerToken, timing }: EvaluateResult): string {
  const metrics = Object.entries(results).flatMap(([task, result]) =>
    Object.entries(result.metrics).map(([name, value]): [string, string] => [
      name === task ? name : `${task} ${name}`,
      Number.isInteger(value) ? String(value) : value.toFixed(4),
    ]),
  );
  return facts([
    ...metrics,
    ['neurons computed', percent(density.neurons)],
    ['heads computed', percent(density.heads)],
    [
      'weights read a token',
      `${bytes(bytesPerToken.weights)} (dense ${bytes(bytesPerToken.dense)})`,
    ],
    ['predictor read a token', bytes(bytesPerToken.predictor)],
    ['seconds', timing.seconds.toFixed(1)],
  ]);
}

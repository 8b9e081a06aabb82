import { EngineError } from '../../errors.ts';
import { train, type TrainResult } from '../../train/train.ts';
import { command } from '../command.ts';
import { trainFlags } from '../flags.ts';
import { note } from '../io.ts';
import { percent, table } from '../layout.ts';
import { openEngine } from '../open.ts';
import { readTexts } from '../../texts.ts';
import { startProgress } from '../progress.ts';

export const trainCommand = command({
  name: 'train',
  summary: 'fit predictors of heads and neurons to a model, unattended',
  model: 'required',
  flags: trainFlags,
  async run({ model, flags, io }) {
    const { backend, threads, text: paths, ...options } = flags;
    if (!paths)
      throw new EngineError(
        'BAD_REQUEST',
        '--text is missing, expected one or more files of calibration text',
      );
    const texts = await readTexts(paths);
    const where = { ...(backend && { backend }), ...(threads && { threads }) };
    await using engine = await openEngine(model!, { ...where, sparsity: 'dense' }, io);
    using progress = startProgress(io);
    let last = '';
    const result = await train(engine, {
      ...options,
      texts,
      signal: io.signal,
      onProgress: ({ label, share, secondsLeft }) => {
        const left = secondsLeft === undefined ? '' : `, ${Math.ceil(secondsLeft)} s left`;
        progress.update(share, `${label}${left}`);
        if (label !== last && !io.stderr.isTTY) note(io, `${percent(share, 0)} ${label}${left}`);
        last = label;
      },
    });
    return { result, text: describe(result) };
  },
});

const describe = ({ predictor, layers, loss, seconds, tokens }: TrainResult): string =>
  table([
    ['layer', 'neurons: recall', 'precision', 'density', 'heads: recall', 'precision', 'density'],
    ...layers.map(({ neurons, heads }, layer) => [
      String(layer),
      ...[neurons, heads].flatMap(({ recall, precision, density }) =>
        [recall, precision, density].map((share) => percent(share)),
      ),
    ]),
  ]) +
  `\nperplexity on ${loss.tokens} held-out ids: ${loss.dense.toFixed(3)} dense, ${loss.sparse.toFixed(3)} sparse\n` +
  `${tokens} ids, ${seconds.toFixed(0)} s, ${predictor}\n`;

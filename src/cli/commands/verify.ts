import { EngineError } from '../../errors.ts';
import { findGolden, readGolden } from '../../eval/golden.ts';
import { failures, verify, type VerifyResult } from '../../eval/verify.ts';
import { command } from '../command.ts';
import { modelFlags, verifyFlags } from '../flags.ts';
import { facts } from '../layout.ts';
import { openEngine } from '../open.ts';
import { startProgress } from '../progress.ts';

export const verifyCommand = command({
  name: 'verify',
  summary: 'compare with reference outputs of the same weights',
  model: 'required',
  flags: { ...verifyFlags, ...modelFlags },
  async run({ model, flags, io }) {
    const { golden: path, tolerance, ...options } = flags;
    await using engine = await openEngine(model!, { ...options, sparsity: 'dense' }, io);
    const golden = await readGolden(path ?? (await findGolden(engine.folder)));
    using progress = startProgress(io);
    const result = await verify(engine, golden, {
      signal: io.signal,
      onProgress: (label, share) => progress.update(share, label),
    });
    const found = failures(result, tolerance);
    const outcome = { result, text: describe(result) };
    if (found.length === 0) return outcome;
    const failure = new EngineError(
      'VERIFY_FAILED',
      `${golden.path}: ${found.join('; ')}; expected the reference's outputs within the tolerance; try --backend reference and --weights f32 to see whose fault it is`,
    );
    return { ...outcome, failure };
  },
});

function describe(result: VerifyResult): string {
  const difference = ({ maxError, range }: { maxError: number; range: number }): string =>
    `largest error ${maxError.toExponential(2)}, ${(maxError / range).toExponential(1)} of the range`;
  const { equal, of } = result.greedy;
  return facts([
    ['compared with', result.golden],
    ...(result.logits ? [['logits', difference(result.logits)] as const] : []),
    ...(result.hidden ?? []).map((h) => [`hidden ${h.layer}`, difference(h)] as const),
    ...(result.perplexity ?? []).map(
      ({ name, perplexity, expected }) =>
        [name, `perplexity ${perplexity.toFixed(4)}, expected ${expected.toFixed(4)}`] as const,
    ),
    ['greedy ids', `${equal} of ${of} equal`],
    ...(result.masked ? [['masked', difference(result.masked)] as const] : []),
    ...Object.entries(result.kv ?? {}).map(
      ([name, of]) =>
        [
          `kv ${name}`,
          `${difference(of)}, kept tokens ${of.keptEqual ? 'equal' : 'differ'}`,
        ] as const,
    ),
  ]);
}

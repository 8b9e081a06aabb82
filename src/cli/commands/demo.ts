import { Engine, type OpenOptions } from '../../engine/local.ts';
import type { GenerateResult, Prompt } from '../../engine/generate.ts';
import { type Agreement, measureAgreement } from '../../eval/agreement.ts';
import { command } from '../command.ts';
import { maxTokens, methodFlags, modelFlags, promptFlags } from '../flags.ts';
import { type Io, note } from '../io.ts';
import { bytes, percent, rate, sideBySide, table } from '../layout.ts';
import { openEngine } from '../open.ts';
import { startProgress } from '../progress.ts';
import { readPrompt } from '../prompt.ts';

const defaultModel = 'books-6m';
const defaultPrompt = 'The old sailor looked out over the water, and';
const rounds = 5;
/** The likeliest id each time, whatever the model's makers say. */
const plain = { temperature: 0, repeatPenalty: 1 };

interface DemoResult {
  readonly dense: GenerateResult;
  readonly sparse: GenerateResult;
  /** Of each round; the texts are the same in all. */
  readonly tokensPerSecond: { readonly dense: number[]; readonly sparse: number[] };
  readonly agreement: Agreement;
}

export const demo = command({
  name: 'demo',
  summary: 'one prompt, continued dense and sparse, and what each cost',
  model: 'optional',
  flags: { ...promptFlags, maxTokens, ...modelFlags, ...methodFlags },
  async run({ model = defaultModel, flags, io }) {
    const { prompt: text, ids, maxTokens = 96, ...options } = flags;
    const prompt = (await readPrompt(flags, io)) ?? defaultPrompt;
    const { sparsity, predictor, recall, maxLoss, neurons, heads, ...shared } = options;
    await using sparse = await openSparse(model, options, io);
    await using dense = await Engine.open(model, { ...shared, sparsity: 'dense' });
    const result = await compare(dense, sparse, prompt, maxTokens, io);
    return { result, text: describe(result, prompt, io.stderr.columns ?? 100) };
  },
});

/** The predictor where there is one; else what needs none. */
async function openSparse(model: string, options: OpenOptions, io: Io): Promise<Engine> {
  const engine = await openEngine(model, options, io);
  if (options.sparsity !== undefined || engine.predictor) return engine;
  await engine[Symbol.asyncDispose]();
  note(io, 'note: there is no predictor beside the model; the exact method is shown');
  return openEngine(model, { ...options, sparsity: 'exact' }, io);
}

async function compare(
  dense: Engine,
  sparse: Engine,
  prompt: Prompt,
  maxTokens: number,
  io: Io,
): Promise<DemoResult> {
  using progress = startProgress(io);
  const speeds: DemoResult['tokensPerSecond'] = { dense: [], sparse: [] };
  const generate = (engine: Engine, count: number): Promise<GenerateResult> =>
    engine.generate(prompt, { maxTokens: count, ...plain, ignoreEnd: true }).result;
  const run = async (engine: Engine, into: number[]): Promise<GenerateResult> => {
    io.signal.throwIfAborted();
    const result = await generate(engine, maxTokens);
    into.push(result.timing.decodeTokensPerSecond);
    return result;
  };
  let results: GenerateResult[] = [];
  for (let round = 0; round < rounds; round++) {
    results = [await run(dense, speeds.dense), await run(sparse, speeds.sparse)];
    progress.update((round + 1) / rounds, 'dense and sparse in turns');
  }
  const [a, b] = results;
  const agreement = await measureAgreement(sparse, a.promptIds, a.ids, b.ids, io.signal);
  return { dense: a, sparse: b, tokensPerSecond: speeds, agreement };
}

function describe(
  { dense, sparse, tokensPerSecond, agreement }: DemoResult,
  prompt: Prompt,
  width: number,
): string {
  const of = dense.ids.length;
  const read = ({ bytesPerToken }: GenerateResult): number =>
    bytesPerToken.weights + bytesPerToken.predictor;
  const rows: [string, (r: GenerateResult) => string][] = [
    ['weights read a token', (r) => bytes(r.bytesPerToken.weights)],
    ['predictor read a token', (r) => bytes(r.bytesPerToken.predictor)],
    ['both, beside dense', (r) => percent(read(r) / r.bytesPerToken.dense)],
    ['neurons computed', (r) => percent(r.density.neurons)],
    ['heads computed', (r) => percent(r.density.heads)],
  ];
  return [
    `${typeof prompt === 'string' ? prompt : `ids ${Array.from(prompt).join(',')}`} …\n`,
    sideBySide(
      ['dense', shown(dense)],
      [`sparse (${sparse.sparsity})`, shown(sparse)],
      Math.min(width, 120),
    ),
    table([
      ['', 'dense', sparse.sparsity],
      [
        'tokens/s, median',
        rate(median(tokensPerSecond.dense)),
        rate(median(tokensPerSecond.sparse)),
      ],
      ...rows.map(([name, cell]) => [name, cell(dense), cell(sparse)]),
    ]),
    table([
      ['layer', 'neurons', 'heads'],
      ...sparse.density.layers.map(({ neurons, heads }, layer) => [
        String(layer),
        percent(neurons),
        percent(heads),
      ]),
    ]),
    `Agreement: the texts share ${agreement.commonIds} of ${of} ids before they part; fed what dense wrote,` +
      ` the sparse model's likeliest next id is dense's in ${percent(agreement.sameArgmax)} of the steps.\n`,
    `What this shows: how much less is read. This model's ${bytes(dense.bytesPerToken.dense)} of weights fit the` +
      ` cache of most processors, where reading is nearly free, so tokens/s need not rise here.\n` +
      `What sparsity gains where weights come from memory: dejavu bench --shape opt-1.3b\n`,
  ].join('\n');
}

const shown = ({ text, ids }: GenerateResult): string => (text || ids.join(',')).trim();

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

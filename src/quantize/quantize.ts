import { join } from 'node:path';
import { Engine, type OpenOptions } from '../engine/local.ts';
import type { Prompt } from '../engine/generate.ts';
import { EngineError } from '../errors.ts';
import type { WeightType } from '../loaders/convert.ts';
import { copyFile, copyFiles, fileExists, makeFolder, replaceFile } from '../loaders/fs.ts';
import { hashCheckpoint } from '../loaders/identity.ts';
import { isGguf, predictorBeside } from '../loaders/names.ts';
import { generationFile } from '../loaders/generation.ts';
import { openCheckpoint, type OpenedCheckpoint } from '../loaders/open.ts';
import { type About, encodeRows, quantizationConfig } from '../loaders/quantized.ts';
import type { HostTensor } from '../op.ts';
import { byteLength, isQuantized, type QuantizedType, typeOfFormat } from '../tensor.ts';
import { readTokenizer } from '../tokenizer/index.ts';
import { type Rounding, roundings } from './roundings.ts';
import { type Calibration, calibrationOf, perplexityOf, splitText, textsToScore } from './text.ts';
import { recordDense } from './uses.ts';

/** Into what to quantize, how, and where to write it. */
export interface QuantizeOptions extends Pick<OpenOptions, 'backend' | 'threads' | 'onNote'> {
  /** Of a weight inside the blocks. */
  readonly bits: 4 | 8;
  /** Consecutive weights of a row that share a scale; of 8 bits 32. Default 32. */
  readonly group?: 32 | 64 | 128;
  /** They share a minimum too, so that codes cover just what is there; 4 bits only. Default false. */
  readonly zeroPoint?: boolean;
  /** Folder to make. */
  readonly output: string;
  /** `rtn` rounds to nearest; `gptq` calibrates on a text. Default: `gptq` where there is one. */
  readonly method?: string;
  /** Text or its ids. The last tenth is held out, to measure on; GPTQ is calibrated on the rest. */
  readonly text?: Prompt;
  /** Most ids to calibrate on, in passages from all over the text. Default 32768. */
  readonly tokens?: number;
  /** Of token and position embeddings and the output head. Default 8. */
  readonly embeddingBits?: 4 | 8;
  /** Ends the work; nothing is left behind. */
  readonly signal?: AbortSignal;
  /** What is being done, and how much of it is done, 0 to 1. */
  readonly onProgress?: (label: string, share: number) => void;
}

/** What was written. */
export interface QuantizeResult {
  /** The folder. */
  readonly output: string;
  /** Of a weight inside the blocks. */
  readonly bits: 4 | 8;
  /** Weights that share a scale. */
  readonly group: 32 | 64 | 128;
  /** They share a minimum too. */
  readonly zeroPoint: boolean;
  /** The rounding: `rtn` or `gptq`. */
  readonly method: string;
  /** In memory, all together. */
  readonly weightBytes: number;
  /** Of the dense model, on the excerpts that come with it, else on the held-out part of the text. */
  readonly perplexity?: { readonly before: number; readonly after: number };
}

/** Files of a checkpoint that go with any weights made from it. */
const companions =
  /^(tokenizer.*|special_tokens_map\.json|added_tokens\.json|vocab\..*|merges\.txt|chat_template.*|generation_config\.json|predictor\.safetensors|LICEN[CS]E.*)$/;

/**
 * Write a checkpoint anew with quantized weights (loaders/quantized.ts).
 *
 * Matrices inside the blocks get `bits`; tables and the output head, where rounding costs most and few
 * bytes are read, `embeddingBits`; norms and biases stay f32.
 * Throws `BAD_REQUEST`, `BAD_TEXT`, `ABORTED`, and what `Engine.open` throws; then nothing is left behind.
 *
 *     const { perplexity } = await quantize('models/mine', { bits: 4, output: 'models/mine-int4', text });
 */
export async function quantize(model: string, options: QuantizeOptions): Promise<QuantizeResult> {
  const { bits, group = 32, zeroPoint = false, output, text, tokens, signal, onProgress } = options;
  const type = chooseType({ bits, group, zeroPoint });
  const rounding = chooseRounding(options);
  const where = pick(options);
  const measure = (engine: Engine, label: string): Promise<number> =>
    perplexityOf(engine, scored, signal, (share) => onProgress?.(label, share));
  let scored: Int32Array[] = [];
  let before = 0;
  let weightBytes = 0;
  await makeFolder(output, async (temporary) => {
    await using engine = await Engine.open(model, { ...where, sparsity: 'dense' });
    if (isQuantized(engine.checkpoint.dtype))
      throw new EngineError(
        'BAD_REQUEST',
        `${model}: its weights are ${engine.checkpoint.dtype} already; expected f32, f16 or bf16; quantize the original`,
      );
    const split = text === undefined ? undefined : splitText(engine, text);
    const calibration =
      split && rounding.calibrates ? calibrationOf(engine, split.first, tokens) : undefined;
    scored = await textsToScore(engine, split?.last);
    if (scored.length) before = await measure(engine, 'measure the original');
    weightBytes = await write(engine, temporary, type, rounding, calibration, options);
  });
  const result = { output, bits, group, zeroPoint, method: rounding.name, weightBytes };
  if (scored.length === 0) return result;
  await using engine = await Engine.open(output, { ...where, sparsity: 'dense' });
  return { ...result, perplexity: { before, after: await measure(engine, 'measure the result') } };
}

function chooseType({
  bits,
  group,
  zeroPoint,
}: Required<Pick<QuantizeOptions, 'bits' | 'group' | 'zeroPoint'>>): QuantizedType {
  const type = typeOfFormat({ bits, group, minima: zeroPoint });
  if (type) return type;
  const asked = zeroPoint ? '`zeroPoint`' : `\`group\` ${group}`;
  throw new EngineError(
    'BAD_REQUEST',
    `\`bits\` is ${bits} with ${asked}, expected \`bits\` 4 beside it: 8 bits are in groups of 32 without; leave it out`,
  );
}

function chooseRounding({ method: name, text }: QuantizeOptions): Rounding {
  const fits = ({ calibrates }: Rounding): boolean => calibrates === (text !== undefined);
  const rounding = roundings.find(name === undefined ? fits : (r) => r.name === name);
  if (!rounding)
    throw new EngineError(
      'BAD_REQUEST',
      `\`method\` is "${name}", expected one of ${roundings.map((r) => r.name).join(', ')}`,
    );
  if (rounding.calibrates && text === undefined)
    throw new EngineError(
      'BAD_REQUEST',
      `\`method\` is ${name}, which is calibrated on a text, and none is given; add \`text\`, or choose another`,
    );
  return rounding;
}

const pick = ({ backend, threads, onNote }: QuantizeOptions): OpenOptions => ({
  ...(backend !== undefined && { backend }),
  ...(threads !== undefined && { threads }),
  ...(onNote && { onNote }),
});

/** Write the whole folder; returns the bytes of its weights. */
async function write(
  engine: Engine,
  into: string,
  type: QuantizedType,
  rounding: Rounding,
  calibration: Calibration | undefined,
  { bits, embeddingBits = 8, signal, onProgress }: QuantizeOptions,
): Promise<number> {
  const { backend, checkpoint, path, files } = engine;
  const { family, config, weights } = checkpoint;
  await using original = await openCheckpoint(files);
  const about: Omit<About, 'dtypes'> = {
    dtype: type,
    method: rounding.name,
    source: await hashCheckpoint(files),
  };

  using step = recordDense(backend, checkpoint, 1);
  const uses = step.uses;
  const tables = embeddingBits === bits ? type : embeddingBits === 4 ? 'int4' : 'int8';
  const typeOf = (name: string, kind: 'matrix' | 'vector'): WeightType => {
    if (kind === 'vector') return 'f32';
    return uses.get(name)?.kind === 'inner' ? type : tables;
  };
  const plan = Object.entries(family.weights(config)).flatMap(([name, spec]) =>
    weights.find(name)
      ? [{ name, dtype: typeOf(name, spec.kind), shape: spec.shape, norms: Boolean(spec.byInputs) }]
      : [],
  );
  const matrices = plan.filter(({ dtype }) => isQuantized(dtype));
  const inner = matrices.map(({ name }) => name).filter((name) => uses.get(name)?.kind === 'inner');
  using encoder = rounding.begin({ backend, model: checkpoint, inner, calibration, signal });

  let done = 0;
  const encode = async (name: string, to: WeightType): Promise<HostTensor> => {
    signal?.throwIfAborted();
    const tensor = weights.get(name);
    const { dtype, shape } = tensor;
    const stored: HostTensor = { dtype, shape, bytes: (await backend.read([tensor]))[0] };
    if (!isQuantized(to)) return stored;
    onProgress?.(`quantize ${name}`, done++ / matrices.length);
    return await encoder.encode(name, stored, to, uses.get(name));
  };
  await replaceFile(join(into, 'model.safetensors'), encodeRows(plan, about, encode));
  const quantized = {
    ...(original.json as object),
    quantization_config: quantizationConfig(about),
  };
  await writeJson(join(into, 'config.json'), quantized);
  await (isGguf(path) ? writeCompanions(engine, original, into) : copyCompanions(path, into));
  return plan.reduce((sum, { dtype, shape }) => sum + byteLength(dtype, shape), 0);
}

const copyCompanions = (path: string, into: string): Promise<void> =>
  copyFiles(path, into, (file) => companions.test(file));

/** The tokenizer that a GGUF file has inside, how its texts are generated, and its predictor. */
async function writeCompanions(
  { path, files }: Engine,
  { generation }: OpenedCheckpoint,
  into: string,
): Promise<void> {
  const tokenizer = await readTokenizer(files);
  if (tokenizer) {
    await writeJson(join(into, 'tokenizer.json'), tokenizer.json);
    await writeJson(join(into, 'tokenizer_config.json'), tokenizer.config);
  }
  if (generation) await writeJson(join(into, generationFile), generation);
  const predictor = predictorBeside(path);
  if (await fileExists(predictor)) await copyFile(predictor, predictorBeside(into));
}

const writeJson = (path: string, json: unknown): Promise<void> =>
  replaceFile(path, [new TextEncoder().encode(`${JSON.stringify(json, undefined, 2)}\n`)]);

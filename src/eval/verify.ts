import type { Engine } from '../engine/engine.ts';
import { argmax } from '../engine/sampler.ts';
import { EngineError } from '../errors.ts';
import { f32, i32 } from '../rows.ts';
import type { HostTensor } from '../op.ts';
import { dense } from '../sparsity/dense.ts';
import { given } from '../sparsity/given.ts';
import { size } from '../tensor.ts';
import type { Golden, GoldenTensors, GoldenTexts, MaskedTensors } from './golden.ts';
import { compareKv, type KvComparison } from './kv-golden.ts';
import { compare, type Difference } from './outputs.ts';
import { runOf } from './run.ts';
import { perplexity } from './tasks/perplexity.ts';

/** How far what we compute is from the reference; `failures` says what is too far. */
export interface VerifyResult {
  /** The name or path it was opened by. */
  readonly model: string;
  /** Its model family. */
  readonly family: string;
  /** What ran it. */
  readonly backend: string;
  /** Type of weights in memory. */
  readonly weights: string;
  /** The file that was compared with. */
  readonly golden: string;
  /** Of dense prefill. */
  readonly logits?: Difference;
  /** After the embedding (layer 0) and after each block. */
  readonly hidden?: readonly (Difference & { readonly layer: number })[];
  /** Ids by decode steps: how many agree before the first that differs, over all prompts. */
  readonly greedy: {
    readonly equal: number;
    readonly of: number;
    /** Index of the first id that differs. */
    readonly firstDifference: number | null;
  };
  /** Decode steps that compute given heads and neurons alone. */
  readonly masked?: Difference;
  /** Token by token under KV policies, by case. */
  readonly kv?: Readonly<Record<string, KvComparison>>;
  /** Of texts, as `evaluate` measures it. */
  readonly perplexity?: readonly {
    readonly name: string;
    readonly perplexity: number;
    readonly expected: number;
  }[];
}

/** How to compare. */
export interface VerifyOptions {
  /** Ends the comparison between steps. */
  readonly signal?: AbortSignal;
  /** What is compared, and the share of all that is done, 0 to 1. */
  readonly onProgress?: (label: string, share: number) => void;
}

/**
 * Compare what an engine computes with reference outputs of the same weights. Throws `BAD_SHAPE` where they are of
 * another model, `ABORTED`.
 *
 *     const result = await verify(engine, await readGolden('golden.safetensors'));
 *     failures(result).length === 0;
 */
export async function verify(
  engine: Engine,
  golden: Golden,
  options: VerifyOptions = {},
): Promise<VerifyResult> {
  const { tensors, masked, texts, kv } = golden;
  const head = {
    model: engine.model,
    family: engine.description.family,
    backend: engine.backend.name,
    weights: engine.checkpoint.dtype,
    golden: golden.path,
  };
  if (texts) return { ...head, ...(await compareTexts(engine, texts, options)) };
  if (!tensors) throw new EngineError('INTERNAL', `${golden.path}: nothing to compare with`);
  expectShapes(engine, golden);
  const prefill = await comparePrefill(engine, golden.path, tensors);
  options.onProgress?.('prefill', 0.3);
  const greedy = await compareGreedy(engine, [
    { promptIds: i32(tensors.ids), ids: i32(tensors.greedyIds) },
  ]);
  options.onProgress?.('greedy ids', 0.6);
  return {
    ...head,
    ...prefill,
    greedy,
    ...(masked && { masked: await compareMasked(engine, tensors.ids, masked) }),
    ...(kv && { kv: await compareKv(engine, kv) }),
  };
}

/** Default bounds: errors as a share of the range, and of a perplexity. */
export const defaultTolerance = { ofRange: 2e-4, ofPerplexity: 1e-3 };

/**
 * What exceeds the tolerance, one phrase each; nothing when all is well. `tolerance`: largest error as a share of
 * the range; by default 2e-4, and of a perplexity 1e-3. Throws nothing.
 *
 *     for (const failure of failures(await verify(engine, golden))) console.error(failure);
 */
export function failures(result: VerifyResult, tolerance?: number): string[] {
  const { ofRange, ofPerplexity } =
    tolerance === undefined ? defaultTolerance : { ofRange: tolerance, ofPerplexity: tolerance };
  const differences: [string, Difference | undefined][] = [
    ['logits', result.logits],
    ...(result.hidden ?? []).map((h): [string, Difference] => [`hidden.${h.layer}`, h]),
    ['masked logits', result.masked],
    ...Object.entries(result.kv ?? {}).map(([name, of]): [string, Difference] => [
      `logits of kv ${name}`,
      of,
    ]),
  ];
  const found: string[] = [];
  for (const [name, difference] of differences)
    if (difference && !(difference.maxError <= ofRange * difference.range))
      found.push(`${name} differ by ${difference.maxError} of a range of ${difference.range}`);
  for (const [name, { keptEqual }] of Object.entries(result.kv ?? {}))
    if (!keptEqual) found.push(`kv ${name} keeps other tokens`);
  for (const { name, perplexity, expected } of result.perplexity ?? [])
    if (!(Math.abs(perplexity / expected - 1) <= ofPerplexity))
      found.push(`perplexity of ${name} is ${perplexity}, not ${expected}`);
  const { equal, of, firstDifference } = result.greedy;
  if (equal < of) found.push(`greedy ids differ from id ${firstDifference} on`);
  return found;
}

async function comparePrefill(
  engine: Engine,
  path: string,
  golden: GoldenTensors,
): Promise<Required<Pick<VerifyResult, 'logits' | 'hidden'>>> {
  using session = engine.session(dense);
  const { logits, hidden } = await session.inspect(i32(golden.ids));
  for (const [layer, { shape }] of golden.hidden.entries())
    if (hidden[layer]?.length !== size(shape))
      throw new EngineError(
        'BAD_SHAPE',
        `${path}, hidden.${layer}: is [${shape}]; expected ${hidden[layer]?.length ?? 'no'} elements; check that it belongs to this model`,
      );
  return {
    logits: compare(logits, f32(golden.logits)),
    hidden: golden.hidden.map((h, layer) => ({ layer, ...compare(hidden[layer], f32(h)) })),
  };
}

async function compareGreedy(
  engine: Engine,
  cases: readonly { promptIds: ArrayLike<number>; ids: ArrayLike<number> }[],
): Promise<VerifyResult['greedy']> {
  using session = engine.session(dense);
  let equal = 0;
  let of = 0;
  let firstDifference: number | null = null;
  for (const { promptIds, ids } of cases) {
    session.truncate(0);
    let id = argmax(await session.prefill(Int32Array.from(promptIds)));
    let agree = 0;
    while (agree < ids.length && id === ids[agree]) {
      agree++;
      if (agree < ids.length) id = argmax(await session.decode(id));
    }
    if (agree < ids.length) firstDifference ??= of + agree;
    equal += agree;
    of += ids.length;
  }
  return { equal, of, firstDifference };
}

async function compareMasked(
  engine: Engine,
  ids: HostTensor,
  { heads, neurons, logits }: MaskedTensors,
): Promise<Difference> {
  const { layers, vocabulary } = engine.description;
  using choice = given(engine.backend, engine.description);
  using session = engine.session(choice);
  const computed = new Float32Array(logits.shape[0] * vocabulary);
  for (const [t, id] of i32(ids).entries()) {
    for (let layer = 0; layer < layers; layer++) {
      choice.choose('heads', layer, marked(heads, layer, t));
      choice.choose('neurons', layer, marked(neurons, layer, t));
    }
    computed.set(await session.decode(id), t * vocabulary);
  }
  return compare(computed, f32(logits));
}

/** Indices that are set in mask [L, T, N] for one layer and token. */
function marked({ shape: [, T, N], bytes }: HostTensor, layer: number, t: number): number[] {
  const row = bytes.subarray((layer * T + t) * N, (layer * T + t + 1) * N);
  return Array.from(row.keys()).filter((n) => row[n]);
}

async function compareTexts(
  engine: Engine,
  { perplexities, greedy }: GoldenTexts,
  { signal, onProgress }: VerifyOptions,
): Promise<Required<Pick<VerifyResult, 'greedy' | 'perplexity'>>> {
  for (const { prompt, promptIds } of greedy)
    if (engine.encode(prompt).join() !== promptIds.join())
      throw new EngineError(
        'VERIFY_FAILED',
        `golden: the prompt ${JSON.stringify(prompt)} becomes ids ${engine.encode(prompt).join()}, expected ${promptIds.join()}; check that the tokenizer belongs to the model`,
      );
  const compared: Required<VerifyResult>['perplexity'][number][] = [];
  for (const [i, { name, text, window, stride, perplexity: expected }] of perplexities.entries()) {
    const { metrics } = await perplexity.run(
      engine,
      { window, stride },
      {
        ...runOf(engine, { method: dense, signal }),
        ...{ items: [], texts: [text] },
        onProgress: (share) => onProgress?.(name, (i + share) / perplexities.length),
      },
    );
    compared.push({ name, perplexity: metrics.perplexity, expected });
  }
  return { perplexity: compared, greedy: await compareGreedy(engine, greedy) };
}

function expectShapes(engine: Engine, { path, tensors, masked }: Golden): void {
  const { layers, heads, neurons, vocabulary } = engine.description;
  const T = tensors!.ids.shape[0];
  const wanted: [string, HostTensor, number[]][] = [
    ['input_ids', tensors!.ids, [T]],
    ['logits', tensors!.logits, [T, vocabulary]],
  ];
  if (masked)
    wanted.push(
      ['masked heads', masked.heads, [layers, T, heads]],
      ['masked neurons', masked.neurons, [layers, T, neurons]],
      ['masked logits', masked.logits, [T, vocabulary]],
    );
  for (const [name, { shape }, expected] of wanted)
    if (shape.join() !== expected.join())
      throw new EngineError(
        'BAD_SHAPE',
        `${path}, ${name}: is [${shape}]; expected [${expected}]; check that it belongs to this model`,
      );
  engine.encode(i32(tensors!.ids));
}

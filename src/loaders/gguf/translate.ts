import { EngineError } from '../../errors.ts';
import { nearest } from '../../models/nearest.ts';
import { f32 } from '../../rows.ts';
import type { Entry } from '../entry.ts';
import { architectures, type Architecture, type Has } from './architectures.ts';
import { Metadata } from './metadata.ts';
import type { GgufHeader, GgufTensor } from './reader.ts';
import { samplingOf } from './sampling.ts';

/** A GGUF model in the terms of a Hugging Face folder. */
export interface Translated {
  /** What config.json would say. */
  readonly config: Readonly<Record<string, unknown>>;
  /** What generation_config.json would say; its end ids are in `config`. */
  readonly generation: Readonly<Record<string, unknown>> | undefined;
  readonly entries: ReadonlyMap<string, Entry>;
}

/** Throws `BAD_CONFIG`, `UNKNOWN_FAMILY`, `MISSING_TENSOR`. */
export async function translate(where: string, header: GgufHeader): Promise<Translated> {
  const m = new Metadata(where, header);
  const architecture = architectures.find(({ name }) => name === m.architecture);
  if (!architecture) {
    const known = architectures.map(({ name }) => name);
    const like = nearest([m.architecture], known);
    throw new EngineError(
      'UNKNOWN_FAMILY',
      `${where}: its architecture is ${JSON.stringify(m.architecture.slice(0, 100))}, which is not read here${like.length ? ` (nearest by name: ${like.join(', ')})` : ''}; expected ${known.join(', ')}; choose another model, or add it to src/loaders/gguf/architectures.ts`,
    );
  }
  const { tensors } = header;
  const has: Has = (name) => tensors.has(name);
  const embedding = tensors.get('token_embd.weight');
  if (!embedding)
    throw new EngineError(
      'MISSING_TENSOR',
      `${where}: none of its ${tensors.size} tensors is token_embd.weight; expected the weights of a model; a file of a vocabulary alone cannot run`,
    );
  const scaling = await llama3Scaling(m, tensors.get('rope_freqs.weight'));
  return {
    config: {
      vocab_size: embedding.shape[0],
      tie_word_embeddings: !has('output.weight'),
      bos_token_id: m.whole('tokenizer.ggml.bos_token_id'),
      eos_token_id: endIds(m),
      ...architecture.config(m, has),
      ...(scaling && { rope_scaling: scaling }),
    },
    generation: samplingOf(m),
    entries: new Map(entriesOf(m, architecture, tensors, has)),
  };
}

/** Of a text, a turn and a message: llama.cpp ends at each of them. */
const endIds = (m: Metadata): number[] => [
  ...new Set(
    ['eos', 'eot', 'eom']
      .map((end) => m.whole(`tokenizer.ggml.${end}_token_id`))
      .filter((id) => id !== undefined),
  ),
];

function* entriesOf(
  m: Metadata,
  { names: namesOf, rows: rowsOf, transposed }: Architecture,
  tensors: ReadonlyMap<string, GgufTensor>,
  has: Has,
): Generator<[string, Entry]> {
  const names = namesOf(has);
  const rows = rowsOf?.(m) ?? {};
  for (const { name: stored, type, shape, offset, bytes, source } of tensors.values()) {
    const [, stem = '', kind = ''] = /^(.*)\.(weight|bias)$/.exec(stored) ?? [];
    const [layer = ''] = /(?<=^blk\.)\d+(?=\.)/.exec(stem) ?? [];
    const pattern = stem.replace(/^blk\.\d+\./, 'blk.{}.');
    if (!Object.hasOwn(names, pattern)) continue;
    const name = `${names[pattern].replace('{}', layer)}.${kind}`;
    const row = Object.hasOwn(rows, pattern) ? rows[pattern] : undefined;
    yield [
      name,
      {
        ...{ name, type, shape, offset, bytes, source },
        ...(row && { row }),
        ...(shape.length > 1 && transposed?.includes(pattern) && { transposed: true }),
      },
    ];
  }
}

/**
 * Files of Llama 3.1 and later have the factors by which its rotary frequencies are divided, one for each
 * pair, and not the parameters they were made from. Undefined where there are none; throws
 * `BAD_CONFIG` where no parameters that were ever published make these factors.
 */
async function llama3Scaling(
  m: Metadata,
  tensor: GgufTensor | undefined,
): Promise<Record<string, unknown> | undefined> {
  if (!tensor) return undefined;
  const { type, shape, offset, bytes, source } = tensor;
  if (type !== 'F32' || shape.length !== 1 || shape[0] > 4096)
    throw m.failure(`rope_freqs.weight is ${type} [${shape}]`, 'F32 [D/2]');
  const factors = f32({ dtype: 'f32', shape, bytes: await source.read(offset, bytes) });
  const theta = m.number('~.rope.freq_base') ?? 10_000;
  const [low, high, original] = [1, 4, 8192];
  const factor = factors[factors.length - 1];
  const made = factors.map((_, i) => {
    const turns = (original * theta ** (-i / factors.length)) / (2 * Math.PI);
    const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return 1 / (kept + (1 - kept) / factor);
  });
  const wrong = made.findIndex((value, i) => !(Math.abs(value - factors[i]) <= 1e-4 * value));
  if (wrong >= 0)
    throw m.failure(
      `rope_freqs.weight divides frequency ${wrong} by ${factors[wrong]}`,
      `${made[wrong]}, as Llama 3.1 does`,
    );
  return {
    rope_type: 'llama3',
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: original,
  };
}

import type { Llama, LlamaContext } from 'node-llama-cpp';
import { EngineError } from '../../errors.ts';
import { temporaryFile } from '../../loaders/fs.ts';
import type { Model } from '../../engine/step.ts';
import { ggufBytes, type GgufTensor, writeGguf } from '../gguf.ts';
import type { OpenedPeer, Peer, PeerDescription, PeerOptions, PeerSession } from '../peer.ts';
import { type GgufModel, ggufModel } from './architectures.ts';
import { importPackage } from './package.ts';

/** What was tried; `_ctx` may be another thing in others. */
const versions = '3.22';

/** llama.cpp on the CPU, as npm's node-llama-cpp brings it: the build it chooses for this processor. */
export const llamaCpp: Peer = {
  name: 'llama.cpp',
  async open(): Promise<OpenedPeer> {
    const { llama, said, version } = await (started ??= start().catch((error: unknown) => {
      started = undefined;
      throw error;
    }));
    return {
      name: llamaCpp.name,
      version,
      prepare: (model, options) => prepare(llama, said, model, options),
    };
  },
};

interface Started {
  readonly llama: Llama;
  /** Lines of its log. */
  readonly said: string[];
  readonly version: string;
}

/** Once in a process: where the package is started again, its log goes to the terminal. */
let started: Promise<Started> | undefined;

async function start(): Promise<Started> {
  const library = await importPackage<typeof import('node-llama-cpp')>('node-llama-cpp', versions);
  const found = await library.getModuleVersion();
  if (!found.startsWith(`${versions}.`)) throw unusable(`is ${found}, and ${versions} was tried`);
  const said: string[] = [];
  const llama = await library
    .getLlama({
      build: 'never',
      gpu: false,
      maxThreads: 0,
      progressLogs: false,
      logLevel: library.LlamaLogLevel.info,
      logger: (_, message) => said.push(message),
    })
    .catch((cause: unknown) => {
      throw unusable(`does not start (${(cause as Error).message})`, cause);
    });
  const version = `${llama.llamaCppRelease.release} (node-llama-cpp ${found})`;
  return { llama, said, version };
}

async function prepare(
  llama: Llama,
  said: string[],
  model: Model,
  options: PeerOptions,
): Promise<PeerSession> {
  const gguf = ggufModel(model);
  const bytes = gguf.tensors.reduce((sum, tensor) => sum + ggufBytes(tensor), 0);
  const { memoryLimit, signal } = options;
  if (memoryLimit !== undefined && 2 * bytes > memoryLimit)
    throw new EngineError(
      'OUT_OF_MEMORY',
      `\`peer\`: weights of llama.cpp take ${bytes} bytes beside as many of ours; expected at most ${memoryLimit} for both; choose smaller weights (\`weights\` int4) or a smaller model`,
    );
  said.length = 0;
  const loaded = await load(llama, gguf, signal);
  try {
    signal?.throwIfAborted();
    const context = await loaded.createContext({
      contextSize: options.capacity,
      batchSize: Math.max(options.longest, options.sequences),
      sequences: options.sequences,
      threads: options.threads,
    });
    // A context that nobody holds is collected, and its model then waits for it for ever.
    const release = async (): Promise<void> => {
      await context.dispose();
      await loaded.dispose();
    };
    return session(context, describe(llama, said, gguf, model), options, release);
  } catch (error) {
    await loaded.dispose();
    throw error;
  }
}

/** The file is read into memory, not mapped, and gone once it is. */
async function load(llama: Llama, gguf: GgufModel, signal: AbortSignal | undefined) {
  const parts = untilAborted(writeGguf(gguf.metadata, gguf.tensors), signal);
  await using file = await temporaryFile('random.gguf', parts);
  return await llama
    .loadModel({ modelPath: file.path, useMmap: false, ...(signal && { loadSignal: signal }) })
    .catch((cause: unknown) => {
      signal?.throwIfAborted();
      throw unusable(`refuses a model (${(cause as Error).message})`, cause);
    });
}

function* untilAborted<T>(parts: Iterable<T>, signal: AbortSignal | undefined): Generator<T> {
  for (const part of parts) {
    signal?.throwIfAborted();
    yield part;
  }
}

function session(
  { _ctx: context, currentThreads }: LlamaContext,
  description: PeerDescription,
  { threads, sequences }: PeerOptions,
  release: () => Promise<void>,
): PeerSession {
  if (!context?.decodeBatch || currentThreads !== threads)
    throw unusable(`runs on ${currentThreads} threads, or is not the version that was tried`);
  const lengths = new Int32Array(sequences);
  const add = (sequence: number, ids: ArrayLike<number>): void => {
    const last = Uint32Array.of(ids.length - 1);
    context.addToBatch(sequence, lengths[sequence], Uint32Array.from(ids), last);
    lengths[sequence] += ids.length;
  };
  return {
    description,
    prefill: async (sequence, ids) => {
      context.initBatch(ids.length);
      add(sequence, ids);
      await context.decodeBatch();
    },
    decode: async (ids) => {
      context.initBatch(ids.length);
      ids.forEach((id, sequence) => add(sequence, [id]));
      await context.decodeBatch();
    },
    truncate: (sequence, length) => {
      if (lengths[sequence] <= length) return;
      context.removeTokenCellsFromSequence(sequence, length, -1);
      lengths[sequence] = length;
    },
    [Symbol.asyncDispose]: release,
  };
}

function describe(
  llama: Llama,
  said: readonly string[],
  { architecture, tensors }: GgufModel,
  { description: { layers, kvHeads, headDim } }: Model,
): PeerDescription {
  const matrices = tensors.filter(({ shape, content }) => shape.length > 1 && content === 'random');
  const types = [...new Set(matrices.map(({ type }) => type))];
  // "load_tensors:          AMX model buffer size =   554.91 MiB": packed for AMX, or as CPU, …
  const buffers = said.flatMap((line) => /(\S+) model buffer size/.exec(line)?.[1] ?? []);
  return {
    isa: features(llama.systemInfo),
    architecture,
    stored: `${types.join(', ')} in ${buffers.join(', ') || 'memory'}`,
    weightBytes: tensors.reduce((sum, tensor) => sum + readOf(tensor), 0),
    // Keys and values are f16.
    kvBytes: 2 * 2 * layers * kvHeads * headDim,
  };
}

/** Bytes a decode step reads: of tables one row. */
const readOf = (tensor: GgufTensor): number =>
  ggufBytes(tensor) / (/^(token|position)_embd/.test(tensor.name) ? tensor.shape[0] : 1);

/** `CPU : AVX2 = 1 | AMX_INT8 = 0 | …` names what its build for this processor has. */
const features = (systemInfo: string): string =>
  [...systemInfo.matchAll(/(\w+) = 1/g)].map(([, name]) => name).join(' ');

const unusable = (found: string, cause?: unknown): EngineError =>
  new EngineError(
    'BACKEND_UNAVAILABLE',
    `\`peer\`: node-llama-cpp ${found}; expected one that works here; install it anew with: npm install --no-save --ignore-scripts node-llama-cpp@${versions}`,
    { cause },
  );

import { type BackendName, backends } from '../backends/index.ts';
import { locateModel } from '../hub/pull.ts';
import { bundledModel } from '../loaders/bundled.ts';
import { modelFiles, openFile } from '../loaders/fs.ts';
import type { Folder, ModelFiles, Source } from '../source.ts';
import { loadTokenizer } from '../tokenizer/index.ts';
import { Engine as CoreEngine, type OpenOptions as CoreOptions } from './engine.ts';
import { inspect as inspectFiles, type Inspection } from './inspect.ts';

/** How to open a model. */
export interface OpenOptions extends Omit<
  CoreOptions,
  'backend' | 'backends' | 'predictor' | 'tokenizer'
> {
  /** What may run it, fastest first. Default: all of Node's. */
  readonly backends?: CoreOptions['backends'];
  /** One of `backends` by name. Default `auto`: the first that works here. */
  readonly backend?: 'auto' | BackendName | (string & {});
  /** How a model's tokenizer is read. Default: from its files, as its makers and llama.cpp read them. */
  readonly tokenizer?: NonNullable<CoreOptions['tokenizer']>;
  /**
   * Path of a predictor file. Default: `predictor.safetensors` in the model's folder; of NAME.gguf,
   * `NAME.predictor.safetensors` beside it.
   */
  readonly predictor?: string | Source;
}

/** A model of this machine, open and ready: `await using engine = await Engine.open('books-6m')`. */
export class Engine extends CoreEngine {
  /**
   * Open a bundled model by name, a checkpoint folder, a GGUF file, or a model of the hub that was pulled.
   * Everything that can be refused is refused here: options, files, memory.
   * Throws `BAD_REQUEST`, `FILE_NOT_FOUND`, `BAD_CHECKPOINT`, `BAD_CONFIG`, `BAD_SHAPE`, `MISSING_TENSOR`, `UNKNOWN_FAMILY`,
   * `BAD_PREDICTOR`, `NO_PREDICTOR`, `BACKEND_UNAVAILABLE`, `BACKEND_OUTDATED`, `OUT_OF_MEMORY`, `NOT_CACHED`.
   *
   *     await using engine = await Engine.open('books-6m', { sparsity: 'predictor', weights: 'int8' });
   */
  static override async open(
    model: string | Folder | ModelFiles,
    { predictor, ...options }: OpenOptions = {},
  ): Promise<Engine> {
    const files = typeof model === 'string' ? await localFiles(model) : model;
    const open = (source?: Source): Promise<Engine> =>
      super.open(files, {
        ...{ backends, tokenizer: loadTokenizer },
        ...options,
        ...(source && { predictor: source }),
      });
    if (typeof predictor !== 'string') return await open(predictor);
    await using source = await openFile(predictor);
    return await open(source);
  }
}

/**
 * What a model is, by its name or path, from its files' headers, as `inspect` of the core tells it. Throws
 * `FILE_NOT_FOUND`, `BAD_CHECKPOINT`, `BAD_CONFIG`, `UNKNOWN_FAMILY`, `BAD_PREDICTOR`, `NOT_CACHED`.
 *
 *     const { parameters, layers } = await inspect('books-6m');
 */
export const inspect = async (model: string | Folder | ModelFiles): Promise<Inspection> =>
  await inspectFiles(typeof model === 'string' ? await localFiles(model) : model);

/** The files of a bundled model, of a path, or of a model of the hub that was pulled. */
const localFiles = async (model: string): Promise<ModelFiles> =>
  await modelFiles(bundledModel(model) ?? (await locateModel(model)), model);

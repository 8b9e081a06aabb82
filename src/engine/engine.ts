import type { Backend } from '../backend.ts';
import { EngineError, expectWhole } from '../errors.ts';
import type { KVPolicy } from '../kv.ts';
import type { PolicyName } from '../kv/index.ts';
import type { CacheType } from '../ops/attention.ts';
import type { Checkpoint } from '../loaders/checkpoint.ts';
import type { GenerationDefaults } from '../loaders/generation.ts';
import { expectPath, whereIs } from '../loaders/names.ts';
import type { Description } from '../model.ts';
import type { Predictor, PredictorFile } from '../predictor.ts';
import type { Folder, ModelFiles } from '../source.ts';
import type { Method, Sparsity } from '../sparsity.ts';
import type { MethodName } from '../sparsity/index.ts';
import type { Tokenizer } from '../tokenizer/index.ts';
import { Batch } from './batch.ts';
import { BreakEven } from './break-even.ts';
import { Chat, type ChatOptions } from './chat.ts';
import type { GenerateOptions, Prompt } from './generate.ts';
import { freshStart, Generation } from './generation.ts';
import {
  atPoint,
  choosePoint,
  createMethod,
  expectUsed,
  findMethod,
  type MethodOptions,
} from './method.ts';
import { chooseKeeping, contextOf, findPolicy, type KeepingOptions } from './keeping.ts';
import { openSession, type Session } from './session.ts';
import { noPoints } from './predictor-file.ts';
import type { Model } from './step.ts';
import { type BatchOptions, type EngineParts, type OpenOptions, openParts } from './open.ts';
import { over } from './texts.ts';

export type { BatchOptions, OpenOptions } from './open.ts';

/** Methods that are found again by what they were asked for. */
const keptMethods = 64;

/**
 * A model, open and ready.
 *
 *     const folder = memoryFolder({ 'config.json': …, 'model.safetensors': …, 'tokenizer.json': … });
 *     await using engine = await Engine.open(folder, { backends: [reference], tokenizer: loadTokenizer });
 *
 * Texts are independent of one another: each generation and each session has its own cache, or a place of a
 * batch that several share.
 */
export class Engine implements AsyncDisposable {
  /** The name or path it was opened by. */
  readonly model: string;
  /** What it was read from. */
  readonly files: ModelFiles;
  /** Runs what the engine records. */
  readonly backend: Backend;
  /** Weights in memory, and how the model computes with them. */
  readonly checkpoint: Checkpoint & Model;
  /** The method decode steps ask. */
  readonly sparsity: Sparsity;
  /** Predictors of heads and neurons; absent where the method needs none or none lies beside the model. */
  readonly predictor: Predictor | undefined;
  /** What the cache keeps of a text. */
  readonly policy: KVPolicy;
  /** Type of keys and values. */
  readonly cacheType: CacheType;
  /** Tokens one text may have: endless where the policy lets texts go on past the model's context. */
  readonly context: number;
  /** Tokens the model sees at once, at most; a text that may have more has no end. */
  readonly span: number;
  /** Seconds it took to open. */
  readonly loadSeconds: number;
  /** Where choosing pays when several texts are decoded together. */
  readonly breakEven: BreakEven;
  readonly #tokenizer: Tokenizer | undefined;
  readonly #file: PredictorFile | undefined;
  /** Methods by name and options, the oldest first. */
  readonly #methods = new Map<string, Sparsity>();
  /** Sessions and batches that have not ended. */
  readonly #open = new Set<Disposable>();
  #emptied: (() => void) | undefined;
  #disposed = false;
  /** Whether a tokenizer was looked for. */
  readonly #readsText: boolean;

  protected constructor(parts: EngineParts) {
    this.model = parts.files.name;
    this.files = parts.files;
    this.backend = parts.backend;
    this.checkpoint = parts.checkpoint;
    this.sparsity = parts.sparsity;
    this.predictor = parts.predictor;
    this.#file = parts.file;
    this.policy = parts.keeping.policy;
    this.cacheType = parts.keeping.type;
    this.context = parts.keeping.context;
    this.span = parts.keeping.span;
    this.loadSeconds = parts.loadSeconds;
    this.breakEven = new BreakEven(parts.backend, parts.checkpoint);
    this.#tokenizer = parts.tokenizer;
    this.#readsText = parts.readsText;
  }

  /**
   * Open a checkpoint folder, or a GGUF file in one. Everything that can be refused is refused here:
   * options, files, memory.
   * Throws `BAD_REQUEST`, `FILE_NOT_FOUND`, `BAD_CHECKPOINT`, `BAD_CONFIG`, `BAD_SHAPE`, `MISSING_TENSOR`, `UNKNOWN_FAMILY`,
   * `BAD_PREDICTOR`, `NO_PREDICTOR`, `BACKEND_UNAVAILABLE`, `BACKEND_OUTDATED`, `OUT_OF_MEMORY`.
   */
  static async open(model: Folder | ModelFiles, options: OpenOptions): Promise<Engine> {
    return new this(await openParts(model, options));
  }

  /** Where on this machine it was read from: the folder or the GGUF file. Throws `BAD_REQUEST` elsewhere. */
  get path(): string {
    return expectPath(this.files);
  }

  /** The folder it lies in. Throws as `path` does. */
  get folder(): string {
    expectPath(this.files);
    return this.files.folder.name;
  }

  /** Sizes of the model and what sets it apart. */
  get description(): Description {
    return this.checkpoint.description;
  }

  /** How its texts are generated where nothing else is asked for: what its makers say of it. */
  get defaults(): GenerationDefaults {
    return this.checkpoint.defaults;
  }

  /** Throws `NO_TOKENIZER` where the model came without one or none is read; ids still work. */
  get tokenizer(): Tokenizer {
    if (this.#tokenizer) return this.#tokenizer;
    if (!this.#readsText)
      throw new EngineError(
        'NO_TOKENIZER',
        `${whereIs(this.files)}: opened without a tokenizer, expected \`tokenizer\` to say how one is read, as loadTokenizer of dejavu-llm/tokenizer does; hand it in, or give token ids`,
      );
    throw new EngineError(
      'NO_TOKENIZER',
      `${whereIs(this.files)}: there is no tokenizer in it, expected tokenizer.json, vocab.json and merges.txt, or tokenizer.model; add it, or give token ids (\`Prompt\`)`,
    );
  }

  /** Whether texts can be given; else ids alone. */
  get hasTokenizer(): boolean {
    return this.#tokenizer !== undefined;
  }

  /** Ids of a prompt; checked against the vocabulary and the context. */
  encode(prompt: Prompt): Int32Array {
    const ids = typeof prompt === 'string' ? this.tokenizer.encode(prompt) : Array.from(prompt);
    const { vocabulary } = this.description;
    const wrong = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabulary));
    if (wrong !== undefined)
      throw new EngineError(
        'BAD_REQUEST',
        `prompt: id ${wrong} is outside the vocabulary, expected 0 to ${vocabulary - 1}`,
      );
    if (ids.length === 0)
      throw new EngineError('BAD_TEXT', 'prompt: it has no token, expected at least one');
    if (ids.length > this.context)
      throw new EngineError(
        'PROMPT_TOO_LONG',
        `prompt: ${ids.length} tokens, expected at most ${this.context}; shorten it or raise \`context\``,
      );
    return Int32Array.from(ids);
  }

  /** A new text, decoded by the engine's method or another one, in the cache of its policy or another. */
  session(method: Sparsity = this.sparsity, policy: KVPolicy = this.policy): Session {
    const { backend, checkpoint, cacheType } = this;
    const capacity = contextOf(policy, this.description, this.span);
    const setup = { method, policy, capacity, cacheType };
    return this.#owned((onEnd) => openSession(backend, checkpoint, { ...setup, onEnd }));
  }

  /** Texts that are decoded together, and come and go one by one. */
  batch(options: BatchOptions = {}): Batch {
    const { method = this.sparsity, policy = this.policy } = options;
    const most = contextOf(policy, this.description, this.span);
    const { sequences = 8, context = most, breakEven } = options;
    expectWhole('sequences', sequences, 1);
    expectWhole('context', context, 1, most, ', the context of the engine');
    const { backend, checkpoint, cacheType } = this;
    const setup = {
      ...{ method, sequences, policy, capacity: context, cacheType },
      breakEven:
        breakEven === undefined ? this.breakEven : new BreakEven(backend, checkpoint, breakEven),
    };
    return this.#owned((onEnd) => new Batch(backend, checkpoint, { ...setup, onEnd }));
  }

  /**
   * A method over the same weights, for `session`, `batch` and `generate`: at the operating point that the engine
   * was opened for, or at another. The same name and options give the same method, so texts of one batch that
   * ask alike share steps; one that is given itself is made anew. Throws `BAD_REQUEST` for options it does not
   * use or inputs of matrices that lie by outputs here, `NO_PREDICTOR`.
   */
  method(name: MethodName | (string & {}) | Method, options: MethodOptions = {}): Sparsity {
    this.#expectOpen();
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    const key = JSON.stringify([name, given.sort()]);
    const known = typeof name === 'string' ? this.#methods.get(key) : undefined;
    if (known) return known;
    const kind = findMethod(name);
    expectUsed(kind, options);
    const predictor = this.#predictorAt(options);
    const method = createMethod(kind, this.backend, this.checkpoint, predictor, options);
    if (typeof name !== 'string') return method;
    this.#methods.set(key, method);
    const [oldest] = this.#methods.keys();
    if (this.#methods.size > keptMethods) this.#methods.delete(oldest);
    return method;
  }

  /** What a cache may keep, for `session`, `batch` and `generate`. Throws `BAD_REQUEST`. */
  policyOf(
    kv: PolicyName | (string & {}),
    options: Pick<KeepingOptions, 'sinks' | 'heavy' | 'recent' | 'kvBudget'> = {},
  ): KVPolicy {
    const asked = { ...options, kv, context: this.span };
    return chooseKeeping(findPolicy(asked), asked, this.description).policy;
  }

  /**
   * Continue a prompt: text, or token ids. Nothing runs before the result is asked for. What is asked for rejects with
   * `BAD_REQUEST`, `BAD_TEXT`, `NO_TOKENIZER`, `PROMPT_TOO_LONG`; an abort ends it as a result.
   *
   *     for await (const { text } of engine.generate('Once', { maxTokens: 64 })) process.stdout.write(text);
   *     const { text, timing } = await engine.generate([5, 17], { temperature: 0 }).result;
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    return new Generation(this, freshStart(this, prompt, options), options);
  }

  /** A conversation, in the model's own chat template or another. Throws `NO_CHAT_TEMPLATE`. */
  chat(options: ChatOptions = {}): Chat {
    return new Chat(this, options);
  }

  /** End it, after what runs; texts, batches and generations of it are over: `DISPOSED`. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    const ended = new Promise<void>((resolve) => (this.#emptied = resolve));
    for (const texts of [...this.#open]) texts[Symbol.dispose]();
    if (this.#open.size > 0) await ended;
    await this.backend[Symbol.asyncDispose]();
  }

  #predictorAt(options: MethodOptions): Predictor | undefined {
    if ((options.recall ?? options.maxLoss) === undefined) return this.predictor;
    if (!this.predictor || !this.#file) throw noPoints(this.files);
    return atPoint(this.predictor, choosePoint(this.#file, options));
  }

  /** Texts end with the engine. */
  #owned<T extends Disposable>(make: (onEnd: () => void) => T): T {
    this.#expectOpen();
    const made: T = make(() => {
      this.#open.delete(made);
      if (this.#open.size === 0) this.#emptied?.();
    });
    this.#open.add(made);
    return made;
  }

  #expectOpen(): void {
    if (this.#disposed) throw over('engine', 'it was disposed of');
  }
}

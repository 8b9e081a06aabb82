/**
 * The part of node-llama-cpp 3.22 that is used; it is not installed where nobody compares with it.
 *
 * `_ctx` is not part of its public interface, which samples a token after every step: a millisecond
 * counts where a step takes two. What is below evaluates tokens and nothing else, as fast as the package can.
 */
declare module 'node-llama-cpp' {
  export function getLlama(options: {
    build: 'never';
    gpu: false;
    maxThreads: number;
    progressLogs: false;
    logLevel: LlamaLogLevel;
    logger: (level: LlamaLogLevel, message: string) => void;
  }): Promise<Llama>;

  export function getModuleVersion(): Promise<string>;

  export enum LlamaLogLevel {
    info = 'info',
  }

  export interface Llama {
    /** `CPU : AVX2 = 1 | … = 0 | ` */
    readonly systemInfo: string;
    readonly llamaCppRelease: { readonly repo: string; readonly release: string };
    loadModel(options: {
      modelPath: string;
      useMmap: boolean;
      loadSignal?: AbortSignal;
    }): Promise<LlamaModel>;
  }

  export interface LlamaModel {
    createContext(options: {
      contextSize: number;
      batchSize: number;
      sequences: number;
      threads: number;
    }): Promise<LlamaContext>;
    dispose(): Promise<void>;
  }

  export interface LlamaContext {
    readonly currentThreads: number;
    readonly _ctx?: {
      initBatch(tokens: number): void;
      addToBatch(
        sequence: number,
        position: number,
        tokens: Uint32Array,
        logitsOf: Uint32Array,
      ): Uint32Array;
      decodeBatch(): Promise<void>;
      removeTokenCellsFromSequence(sequence: number, start: number, end: number): boolean;
    };
    dispose(): Promise<void>;
  }
}

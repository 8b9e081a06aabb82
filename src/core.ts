// The engine without Node, name by name: files and backends are handed in.
export { type BatchOptions, Engine, type OpenOptions } from './engine/engine.ts';
export { Chat, type ChatOptions, type ChatResult, type ChatStats } from './engine/chat.ts';
export type { Batch, TextOptions } from './engine/batch.ts';
export type { BreakEvenRule } from './engine/break-even.ts';
export type { StepUsage } from './engine/accounts.ts';
export {
  type FinishReason,
  type GenerateOptions,
  type GenerateResult,
  type Piece,
  type Prompt,
  type Start,
} from './engine/generate.ts';
export { Generation } from './engine/generation.ts';
export { inspect, type Inspection } from './engine/inspect.ts';
export type { LogProbability } from './engine/log-probability.ts';
export type { MethodOptions } from './engine/method.ts';
export {
  createSampler,
  logProbability,
  type Sampler,
  type SamplingOptions,
} from './engine/sampler.ts';
export type { DecodeOptions, Session } from './engine/session.ts';
export { TextStream } from './engine/text-stream.ts';
export { type BytesPerToken, type Density, Usage } from './engine/usage.ts';
export type { KVPolicy } from './kv.ts';
export type { GenerationDefaults, GenerationOptions } from './loaders/generation.ts';
export type { Description } from './model.ts';
export type { Sparsity } from './sparsity.ts';
export { type ErrorCode, EngineError, errorCodes } from './errors.ts';
export { type Choices, choices, type Question } from './eval/choices.ts';
export {
  evaluate,
  type EvaluateInput,
  type EvaluateOptions,
  type EvaluateResult,
} from './eval/evaluate.ts';
export { type Likelihood, Likelihoods } from './eval/likelihood.ts';
export type { ItemFile } from './eval/items.ts';
export type { NoOptions, TaskOption, TaskOptions, ValuesOf } from './eval/options.ts';
export {
  type CurvePoint,
  defineTask,
  type Task,
  type TaskResult,
  type TaskRun,
} from './eval/task.ts';
export { type KnownOptions, tasks } from './eval/tasks/index.ts';
export type { Backend, BackendFactory, BackendOptions } from './backend.ts';
export { reference } from './backends/reference/index.ts';
export { policies } from './kv/index.ts';
export { blobFolder } from './loaders/blob.ts';
export { httpFolder, type HttpOptions } from './loaders/http.ts';
export { memoryFolder } from './loaders/memory.ts';
export { families } from './models/index.ts';
export type { Folder, ModelFiles, Sha256, Source } from './source.ts';
export { methods } from './sparsity/index.ts';
export type { ChatTemplate, Message, RenderOptions, Tokenizer } from './tokenizer/index.ts';

// The engine without Node, name by name: files and backends are handed in.
export { type BatchOptions, Engine, type OpenOptions } from './engine/engine.ts';
export {
  Chat,
  type ChatOptions,
  type ChatResult,
  type ChatStats,
  type TalkingModel,
} from './engine/chat.ts';
export type { Batch, TextOptions } from './engine/batch.ts';
export type { BreakEven, BreakEvenRule } from './engine/break-even.ts';
export type { StepUsage } from './engine/accounts.ts';
export {
  type FinishReason,
  type GenerateOptions,
  type GenerateResult,
  type OpenModel,
  type Piece,
  type Prompt,
  type Start,
} from './engine/generate.ts';
export { Generation } from './engine/generation.ts';
export { inspect, type Inspection } from './engine/inspect.ts';
export type { LogProbability } from './engine/log-probability.ts';
export type { KeepingOptions } from './engine/keeping.ts';
export type { MethodOptions } from './engine/method.ts';
export {
  createSampler,
  logProbability,
  type Sampler,
  type SamplingOptions,
} from './engine/sampler.ts';
export type { DecodeOptions, Session } from './engine/session.ts';
export type { Model } from './engine/step.ts';
export type { StepTimes } from './engine/step-times.ts';
export { TextStream } from './engine/text-stream.ts';
export { type BytesPerToken, type Density, Usage } from './engine/usage.ts';
export type {
  AttentionScore,
  Budget,
  Budgets,
  Choice,
  KeepsAll,
  KeepsChosen,
  KeepsRanked,
  KeepsWindows,
  KeyRows,
  KeyScore,
  KVOptions,
  KVPolicy,
  KVSubject,
  PageRows,
  PolicyBase,
  PolicyKind,
  Score,
} from './kv.ts';
export type { Checkpoint } from './loaders/checkpoint.ts';
export type { WeightType } from './loaders/convert.ts';
export type { Keeping } from './loaders/packed/keeping.ts';
export type { GenerationDefaults, GenerationOptions } from './loaders/generation.ts';
export type { Description, Family, Forward, Step, Weights, WeightSpec } from './model.ts';
export type { Activation } from './ops/activation.ts';
export type { CacheType } from './ops/attention.ts';
export type {
  LowRankNet,
  OperatingPoint,
  Predictor,
  PredictorFile,
  PredictorType,
  Provenance,
  SitePredictor,
  ThresholdPoint,
  Union,
} from './predictor.ts';
export type { Command, Recorder, Recording } from './program.ts';
export type { Candidates, InputChoice, Matrix, Selection, Selector, Site } from './selector.ts';
export type { Limits, Method, MethodContext, Skip, SparseStep, Sparsity } from './sparsity.ts';
export type { DType, QuantizedType, Role, Storage, Tensor } from './tensor.ts';
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
export type { Tested } from './eval/run.ts';
export type { NoOptions, TaskOption, TaskOptions, ValuesOf } from './eval/options.ts';
export {
  type AnyItem,
  type CurvePoint,
  defineTask,
  type Task,
  type TaskResult,
  type TaskRun,
} from './eval/task.ts';
export { type KnownOptions, tasks } from './eval/tasks/index.ts';
export type {
  Backend,
  BackendFactory,
  BackendInfo,
  BackendLimits,
  BackendOptions,
  BackendVariant,
  FileMatrix,
  OptOut,
  Program,
  RunTimes,
} from './backend.ts';
export type {
  AttendOptions,
  Cache,
  CacheStep,
  Kept,
  KeySource,
  Layout,
  Missing,
  Rotation,
  StepRows,
} from './cache.ts';
export { reference } from './backends/reference/index.ts';
export { policies, type PolicyName } from './kv/index.ts';
export { blobFolder } from './loaders/blob.ts';
export { httpFolder, type HttpOptions } from './loaders/http.ts';
export { memoryFolder } from './loaders/memory.ts';
export { families } from './models/index.ts';
export type { Folder, ModelFiles, Sha256, Source } from './source.ts';
export { type MethodName, methods } from './sparsity/index.ts';
export type {
  ChatTemplate,
  ContentPart,
  DecodeStream,
  Message,
  RenderOptions,
  Tokenizer,
} from './tokenizer/index.ts';
export type { HostTensor, Op, Operands, Params, Read } from './op.ts';
export type { Texts } from './engine/texts.ts';

// The public surface, name by name.
export type { BatchOptions } from './engine/engine.ts';
export { Engine, inspect, type OpenOptions } from './engine/local.ts';
export { Chat, type ChatOptions, type ChatResult, type ChatStats } from './engine/chat.ts';
export type { Batch } from './engine/batch.ts';
export type { BreakEvenRule } from './engine/break-even.ts';
export type { StepUsage } from './engine/accounts.ts';
export {
  type FinishReason,
  type GenerateOptions,
  type GenerateResult,
  Generation,
  type LogProbability,
  type Piece,
  type Prompt,
  type Start,
} from './engine/generate.ts';
export type { Inspection } from './engine/inspect.ts';
export type { MethodOptions } from './engine/method.ts';
export type { SamplingOptions } from './engine/sampler.ts';
export type { BytesPerToken, Density } from './engine/usage.ts';
export { type ErrorCode, EngineError, errorCodes } from './errors.ts';
export { evaluate, type EvaluateOptions, type EvaluateResult } from './eval/evaluate.ts';
export { findGolden, type Golden, readGolden } from './eval/golden.ts';
export type { CurvePoint, Task, TaskOptions, TaskResult, TaskRun } from './eval/task.ts';
export { tasks } from './eval/tasks/index.ts';
export { failures, verify, type VerifyOptions, type VerifyResult } from './eval/verify.ts';
export { bench, type BenchRunOptions, type BenchTarget } from './bench/run.ts';
export type { BenchOptions, BenchResult, BenchRun, Machine } from './bench/bench.ts';
export type { AskedPolicy, CacheOptions } from './bench/caches.ts';
export type { BenchKV } from './bench/stage.ts';
export type { PeerRun } from './bench/peer-turns.ts';
export { peers } from './bench/peers/index.ts';
export type { Spread } from './bench/spread.ts';
export type { NeuronPredictors } from './bench/subject.ts';
export { type BackendOptions } from './backend.ts';
export { backends } from './backends/index.ts';
export { policies } from './kv/index.ts';
export { cachedModel, pull, type PullOptions, type PullResult } from './hub/pull.ts';
export { families } from './models/index.ts';
export { methods } from './sparsity/index.ts';
export { train, type TrainOptions, type TrainResult } from './train/train.ts';
export type { TrainProgress } from './train/progress.ts';
export type { ChatTemplate, Message, RenderOptions, Tokenizer } from './tokenizer/index.ts';
export { quantize, type QuantizeOptions, type QuantizeResult } from './quantize/quantize.ts';

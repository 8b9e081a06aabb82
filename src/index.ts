// The public surface under Node, name by name: the core, and what needs files, networks and processors.
export * from './core.ts';
export { type BackendName, backends } from './backends/index.ts';
export { bench, type BenchRunOptions, type BenchTarget, type BenchWeights } from './bench/run.ts';
export type { BenchOptions, BenchResult, BenchRun, Machine } from './bench/bench.ts';
export type { AskedPolicy, CacheOptions, Filling } from './bench/caches.ts';
export type { OpenedPeer, Peer, PeerDescription, PeerOptions, PeerSession } from './bench/peer.ts';
export type { BenchKV } from './bench/stage.ts';
export type { PeerRun } from './bench/peer-turns.ts';
export { peers } from './bench/peers/index.ts';
export type { Spread } from './bench/spread.ts';
export type { NeuronPredictors } from './bench/subject.ts';
// Instead of the core's: they find models by name, path and id of the hub.
export { Engine, inspect, type OpenOptions } from './engine/local.ts';
export { evaluate, type EvaluateInput, type EvaluateOptions } from './eval/local.ts';
export {
  findGolden,
  type Golden,
  type GoldenTensors,
  type GoldenTexts,
  type MaskedTensors,
  readGolden,
} from './eval/golden.ts';
export type { KvCase, KvComparison, KvGolden } from './eval/kv-golden.ts';
export type { Difference } from './eval/outputs.ts';
export type { ConnectionOptions } from './hub/connection.ts';
export type { SiteReport } from './train/assemble.ts';
export { failures, verify, type VerifyOptions, type VerifyResult } from './eval/verify.ts';
export { cachedModel, pull, type PullOptions, type PullResult } from './hub/pull.ts';
export { quantize, type QuantizeOptions, type QuantizeResult } from './quantize/quantize.ts';
export { train, type TrainOptions, type TrainResult } from './train/train.ts';
export type { TrainProgress } from './train/progress.ts';

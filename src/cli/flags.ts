import { backends } from '../backends/index.ts';
import type { AskedPolicy } from '../bench/caches.ts';
import { peers } from '../bench/peers/index.ts';
import type { BreakEvenRule } from '../engine/break-even.ts';
import { cacheTypes } from '../engine/keeping.ts';
import { policies } from '../kv/index.ts';
import { roundings } from '../quantize/roundings.ts';
import { methods } from '../sparsity/index.ts';
import { predictorTypes, usualType } from '../predictor.ts';
import { modelTypes } from '../tensor.ts';
import { flag, repeated } from './flag.ts';
import {
  ending,
  list,
  oneOf,
  type Parser,
  real,
  share,
  someText,
  text,
  tokens,
  tokensOrShare,
  whole,
  yesOrNo,
} from './values.ts';

export * from './eval-flags.ts';
export * from './flag.ts';

const weightTypes = ['f32', 'f16', ...modelTypes] as const;

/** Of every command. */
export const commonFlags = {
  json: flag('--json', 'print one JSON object', yesOrNo),
  debug: flag('--debug', 'with an error, print where it came from', yesOrNo),
};

/** Of every command that takes a model: how to come by one of the hub. */
export const hubFlags = {
  offline: flag('--offline', 'take models of the hub from the cache alone', yesOrNo),
  mirror: flag(
    '--mirror <url>',
    'a server to ask instead of huggingface.co (default: HF_ENDPOINT)',
    someText,
  ),
};

export const pullFlags = {
  revision: flag('--revision <name>', 'branch, tag or commit (default: main)', someText),
  file: flag(
    '--file <pattern>',
    'which GGUF file: a name, a part such as Q4_K_M, or a pattern with *',
    someText,
  ),
};

/** Where to compute. */
export const backendFlags = {
  backend: flag(
    '--backend <name>',
    `auto, ${backends.map(({ name }) => name).join(', ')} (default: auto, the fastest that works)`,
    text,
  ),
  threads: flag(
    '--threads <n>',
    'CPU threads (default: physical cores this process may use)',
    whole(1, 1024),
  ),
};

/** How to hold a model. */
export const modelFlags = {
  ...backendFlags,
  weights: flag(
    '--weights <type>',
    `type of weights in memory: auto, ${weightTypes.join(', ')} (default: auto, the file's)`,
    oneOf(['auto', ...weightTypes]),
  ),
};

const kvType = flag(
  '--kv-type <type>',
  `type of keys and values in the cache: ${cacheTypes.join(', ')} (default: f32)`,
  oneOf(cacheTypes),
);

/** What a cache keeps of a text, and as what. */
export const keepingFlags = {
  context: flag(
    '--context <tokens>',
    "tokens the model sees at once (default: the model's own limit)",
    whole(1),
  ),
  kv: flag(
    '--kv <policy>',
    `KV policy, what the cache keeps of a text: ${policies.map(({ name }) => name).join(', ')} (default: full)`,
    text,
  ),
  sinks: flag('--sinks <n>', 'first tokens the policy keeps', whole(0)),
  heavy: flag('--heavy <n>', 'tokens it keeps by what they are worth', whole(0)),
  recent: flag('--recent <n>', 'last tokens it keeps', whole(0)),
  kvBudget: flag(
    '--kv-budget <n|share>',
    'all of them together: tokens, or a share of the context such as 20%',
    tokensOrShare,
  ),
  kvType,
};

const seed = flag('--seed <n>', 'the same seed gives the same result (default: 0)', whole(0));

/** What decode steps compute, and what they attend to. */
export const methodFlags = {
  ...keepingFlags,
  sparsity: flag(
    '--sparsity <method>',
    `${methods.map(({ name }) => name).join(', ')} (default: predictor where there is one, else dense)`,
    text,
  ),
  predictor: flag(
    '--predictor <file>',
    'predictor file (default: predictor.safetensors beside the model)',
    text,
  ),
  recall: flag('--recall <share>', 'share of truly active neurons to select', share()),
  maxLoss: flag(
    '--max-loss <share>',
    'growth of perplexity to stay within, e.g. 1% (default: 1%)',
    share(Infinity),
  ),
  neurons: flag('--neurons <share>', 'fixed share of neurons in every layer', share()),
  heads: flag('--heads <share>', 'fixed share of heads in every layer', share()),
  seed,
};

export const promptFlags = {
  prompt: flag('-p, --prompt <text>', 'what to continue; - reads stdin', text),
  ids: flag('--ids <ids>', 'what to continue, as token ids: 5,17,9', list(whole(0, 2 ** 31 - 1))),
};

export const maxTokens = flag(
  '--max-tokens <n>',
  'most tokens to generate (default: 96)',
  whole(1),
);

export const logprobs = flag(
  '--logprobs <n>',
  "with --json: each id's log-probability and n alternatives",
  whole(0),
);

export const verifyFlags = {
  kvType,
  golden: flag(
    '--golden <file>',
    'reference outputs (default: golden.safetensors beside the model)',
    text,
  ),
  tolerance: flag(
    '--tolerance <share>',
    'largest error as a share of the range (default: 2e-4; of a perplexity 1e-3)',
    real(0),
  ),
};

export const trainFlags = {
  ...backendFlags,
  text: repeated('--text <files...>', 'calibration texts; of a folder, its .txt files', text),
  output: flag(
    '-o, --output <file>',
    'file to write (default: predictor.safetensors beside the model)',
    text,
  ),
  tokens: flag('--tokens <n>', 'most tokens of the texts to use (default: 1000000)', whole(1)),
  rank: flag('--rank <n>', 'rank of every predictor (default: by layer)', whole(1)),
  type: flag(
    '--type <type>',
    `type of the neurons' predictors: ${predictorTypes.join(', ')} (default: ${usualType})`,
    oneOf(predictorTypes),
  ),
  steps: flag('--steps <n>', "steps of each layer's fit (default: 1000)", whole(1)),
  seed,
};

export const quantizeFlags = {
  ...backendFlags,
  bits: flag('--bits <n>', 'bits of a weight: 4 or 8', oneOf(['4', '8'])),
  group: flag(
    '--group <n>',
    'with --bits 4, weights that share a scale: 32, 64 or 128 (default: 32)',
    oneOf(['32', '64', '128']),
  ),
  zeroPoint: flag(
    '--zero-point',
    'with --bits 4, weights that share a scale share a minimum too',
    yesOrNo,
  ),
  output: flag('-o, --output <folder>', 'folder to make', text),
  method: flag(
    '--method <name>',
    `${roundings.map(({ name }) => name).join(', ')} (default: gptq where there is a --text, else rtn)`,
    text,
  ),
  text: flag(
    '--text <file>',
    'text to calibrate on; its last tenth measures a model that has no excerpts',
    text,
  ),
  tokens: flag('--tokens <n>', 'most tokens to calibrate on (default: 32768)', whole(1)),
};

const breakEven: Parser<BreakEvenRule> = (given, where) => {
  if (given === 'measured' || given === 'off') return given;
  const limit = share()(given, where);
  return { heads: limit, neurons: limit, carried: limit, inputs: limit };
};

/** A policy, and what it keeps where that is not `--kv-budget`: `h2o=20%`. */
const policyWithBudget: Parser<AskedPolicy> = (given, where) => {
  const [kv, budget] = given.split(/=(.*)/s);
  return budget === undefined ? kv : { kv, kvBudget: tokensOrShare(budget, where) };
};

const { context, kv, ...keptFlags } = keepingFlags;

export const benchFlags = {
  ...backendFlags,
  shape: flag('--shape <name>', 'a model of random weights in this shape, e.g. opt-1.3b', text),
  layers: flag(
    '--layers <n>',
    'of the shape, its first n layers, with next to no embeddings and head (default: all)',
    whole(1),
  ),
  rank: flag('--rank <n>', "rank of a shape's predictors of neurons (default: 128)", whole(1)),
  predictorType: flag(
    '--predictor-type <type>',
    `type of a shape's predictors of neurons: ${predictorTypes.join(', ')} (default: ${usualType})`,
    oneOf(predictorTypes),
  ),
  weights: flag(
    '--weights <types>',
    'types of weights to measure, e.g. f32,int8 (default: of a model auto, what its files have; of a shape f32,int8)',
    list(oneOf(['auto', ...weightTypes])),
  ),
  methods: flag(
    '--methods <names>',
    'methods to compare; ratios are to the first (default: all there is what they need for)',
    list(text),
  ),
  context: flag(
    '--context <tokens>',
    'tokens of a text when decoding begins, e.g. 512 or 4k,16k (default: 128)',
    list(tokens),
  ),
  kv: flag(
    '--kv <policies>',
    `KV policies to compare, each with a budget of its own where it has one: full,h2o=20%; of ${policies.map(({ name }) => name).join(', ')} (default: full)`,
    list(policyWithBudget),
  ),
  ...keptFlags,
  fill: flag(
    '--fill <how>',
    'keys and values of those tokens: prefill, they are computed; random, made up (default: prefill up to 4096 tokens)',
    oneOf(['prefill', 'random']),
  ),
  steps: flag('--steps <n>', 'decode steps of a round (default: 16)', whole(1)),
  rounds: flag('--rounds <n>', 'rounds, of which medians are taken (default: 7)', whole(1)),
  peer: flag(
    '--peer <name>',
    `measure another engine in the same rounds: ${peers.map(({ name }) => name).join(', ')}`,
    text,
  ),
  batch: flag('--batch <sizes>', 'texts decoded together, e.g. 1,4,8 (default: 1)', list(whole(1))),
  breakEven: flag(
    '--break-even <rule>',
    'share above which several texts compute all of a layer: measured, off, or a share (default: measured)',
    breakEven,
  ),
  plot: flag('--plot <file.svg>', 'also draw speeds and bytes, as an SVG', ending('.svg')),
};

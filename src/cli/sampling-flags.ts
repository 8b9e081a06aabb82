import { flag, repeated, sums } from './flags.ts';
import { bias, list, oneOf, real, someText, text, whole } from './values.ts';

/** Those that a model's generation_config.json or GGUF metadata may say; `inspect` shows what they are. */
const fromModel = (otherwise: number | string): string =>
  `(default: the model's own, else ${otherwise})`;

export const samplingFlags = {
  maxTokens: flag('--max-tokens <n>', `most tokens to generate ${fromModel(128)}`, whole(1)),
  temperature: flag('--temperature <t>', `0 is greedy ${fromModel(0.8)}`, real(0)),
  topK: flag('--top-k <n>', `keep the n likeliest, 0 all ${fromModel(40)}`, whole(0)),
  topP: flag('--top-p <share>', `keep the likeliest that reach p ${fromModel(0.95)}`, real(0, 1)),
  minP: flag('--min-p <share>', `keep those this share as likely ${fromModel(0.05)}`, real(0, 1)),
  temperatureOrder: flag(
    '--temperature-order <when>',
    `first: the temperature before top-k, top-p and min-p; last: after them ${fromModel('last')}`,
    oneOf(['first', 'last']),
  ),
  repeatPenalty: flag(
    '--repeat-penalty <x>',
    `make repeated ids less likely, 1 does not ${fromModel(1)}`,
    real(Number.MIN_VALUE),
  ),
  repeatLastN: flag(
    '--repeat-last-n <n>',
    `ids that penalties look back at, 0 none, -1 all ${fromModel(64)}`,
    whole(-1),
  ),
  presencePenalty: flag(
    '--presence-penalty <x>',
    'lower logits of ids that occurred by x (default: 0)',
    real(-Infinity),
  ),
  frequencyPenalty: flag(
    '--frequency-penalty <x>',
    'lower logits by x for each time an id occurred (default: 0)',
    real(-Infinity),
  ),
  logitBias: sums(
    '-l, --logit-bias <id±bias>',
    'raise or lower the logit of an id: 15043+1, 15043-inf never; may be repeated',
    list(bias),
  ),
  stop: repeated('--stop <text>', 'end before this text; may be repeated', someText),
};

export const chatFlags = {
  prompt: flag('-p, --prompt <text>', 'one turn, then the end; - reads stdin', text),
  system: flag('--system <text>', 'what the model is told before the conversation', someText),
  chatTemplate: flag(
    '--chat-template <file>',
    "Jinja template of conversations (default: the model's own)",
    text,
  ),
  ...samplingFlags,
  maxTokens: flag(
    '--max-tokens <n>',
    `most tokens of a reply ${fromModel('the context')}`,
    whole(1),
  ),
};

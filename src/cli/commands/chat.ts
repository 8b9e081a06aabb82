import { converse, talkFlags } from '../chat/converse.ts';
import { command } from '../command.ts';

export const chat = command({
  name: 'chat',
  summary: 'talk with a model; /help lists what can be typed',
  model: 'required',
  flags: talkFlags,
  run: converse,
});

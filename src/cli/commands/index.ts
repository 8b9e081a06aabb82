import type { Command } from '../command.ts';
import { bench } from './bench.ts';
import { chat } from './chat.ts';
import { demo } from './demo.ts';
import { doctor } from './doctor.ts';
import { evalCommand } from './eval.ts';
import { generate } from './generate.ts';
import { inspectCommand } from './inspect.ts';
import { pullCommand } from './pull.ts';
import { quantizeCommand } from './quantize.ts';
import { runCommand } from './run.ts';
import { trainCommand } from './train.ts';
import { verifyCommand } from './verify.ts';

/** Every command there is, in the order of --help. */
export const commands: readonly Command[] = [
  demo,
  generate,
  chat,
  evalCommand,
  verifyCommand,
  trainCommand,
  inspectCommand,
  doctor,
  bench,
  quantizeCommand,
  pullCommand,
  runCommand,
];

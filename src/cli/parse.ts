import { readFileSync } from 'node:fs';
import { Command as Parser, CommanderError, Option } from 'commander';
import { EngineError } from '../errors.ts';
import type { Command, Outcome } from './command.ts';
import { commands } from './commands/index.ts';
import { commonFlags, type Flags, hubFlags, type Values } from './flags.ts';
import { fetchModel } from './hub.ts';
import type { Io } from './io.ts';

/** A command line that was understood. */
export interface Work {
  readonly json: boolean;
  readonly debug: boolean;
  start(): Promise<Outcome>;
}

/** What a command line asks for: work, or a text such as --help's. Throws `BAD_REQUEST`. */
export function parse(argv: readonly string[], io: Io): Work | { help: string } {
  let help = '';
  let work: Work | undefined;
  const program = new Parser('dejavu')
    .description('Text from a language model, computing only the heads and neurons a token needs.')
    .version(version(), '--version', 'print the version')
    .helpOption('-h, --help', 'print this')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => (help += text),
      writeErr: (text) => (help += text),
      outputError: () => undefined,
    });
  for (const command of commands) {
    const parser = program.command(command.name).description(command.summary);
    if (command.model !== 'none')
      parser.argument(
        command.model === 'optional' ? '[model]' : '<model>',
        command.model === 'id'
          ? 'a model of the Hugging Face hub: ORG/NAME, ORG/NAME@REVISION, ORG/NAME:FILE.gguf'
          : 'a bundled model (books-6m), a checkpoint folder, a .gguf file or an id of the hub',
      );
    const flags: Flags = {
      ...command.flags,
      ...(command.model !== 'none' && hubFlags),
      ...commonFlags,
    };
    for (const { usage, help } of Object.values(flags)) {
      const option = new Option(usage, help);
      parser.addOption(option.isBoolean() ? option : option.argParser(collect));
    }
    parser.addHelpText('after', '\nEvery flag has a variable: --top-k is DEJAVU_TOP_K.');
    parser.action((...given: unknown[]) => {
      const model = command.model === 'none' ? undefined : (given[0] as string | undefined);
      work = prepare(command, flags, parser, model, io);
    });
  }
  try {
    program.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { help };
    const said = error.message.replace(/^error: /, '').replaceAll(/\s+/g, ' ');
    const found = error.code === 'commander.help' ? 'no command is given' : said;
    const named = commands.some(({ name }) => name === argv[0]) ? `${argv[0]} ` : '';
    throw new EngineError('BAD_REQUEST', `command line: ${found}; see "dejavu ${named}--help"`, {
      cause: error,
    });
  }
  return work!;
}

const collect = (value: string, before: string[] = []): string[] => [...before, value];

/** Read the flags, from variables where they are not given. */
function prepare(
  command: Command,
  flags: Flags,
  parser: Parser,
  model: string | undefined,
  io: Io,
): Work {
  const values: Record<string, unknown> = {};
  for (const option of parser.options) {
    const name = option.attributeName();
    const flag = flags[name];
    if (!flag) continue;
    const given: unknown = parser.getOptionValue(name);
    const variable = `DEJAVU_${option.name().replaceAll('-', '_').toUpperCase()}`;
    const set = io.env[variable];
    if (given !== undefined)
      values[name] = given === true || flag.parse(given as string[], option.long!);
    else if (set) values[name] = flag.parse([set], variable);
  }
  const { json = false, debug = false, ...rest } = values as Values<typeof commonFlags>;
  if (command.model === 'id')
    return { json, debug, start: () => command.run({ model, flags: rest, json, io }) };
  const { offline, mirror, ...own } = rest as Values<typeof hubFlags>;
  return {
    json,
    debug,
    async start() {
      const path = model === undefined ? undefined : await fetchModel(model, rest, io);
      return await command.run({ model: path, flags: own, json, io });
    },
  };
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

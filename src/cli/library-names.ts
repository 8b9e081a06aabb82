import * as flags from './flags.ts';
import * as samplingFlags from './sampling-flags.ts';

/** What the command line calls otherwise than the library does. */
const others = [
  ['endpoint', '--mirror'],
  ['Prompt', '--ids'],
  ['readGolden', '--golden'],
  ['template', '--chat-template'],
  ['texts', '--text'],
] as const;

/** Functions of the library that are commands. */
const commands = new Map([
  ['generate', 'generate'],
  ['pull', 'pull'],
  ['train', 'train MODEL --text FILE'],
]);

const isFlag = (group: object): group is flags.Flag<unknown> => 'usage' in group;

/** Flags by the name that their value has in options: `maxTokens` is `--max-tokens`. */
const flagOf = new Map<string, string>([
  ...Object.values<object>({ ...flags, ...samplingFlags })
    .flatMap((group) =>
      isFlag(group) ? [group] : Object.values<flags.Flag<unknown>>({ ...group }),
    )
    .flatMap(({ usage }) => /--[a-z-]+/.exec(usage) ?? [])
    .map(
      (flag) => [flag.slice(2).replace(/-(.)/g, (_, c: string) => c.toUpperCase()), flag] as const,
    ),
  ...others,
]);

/** A message of the library; options and functions that it names in backticks become flags and commands. */
export const inFlags = (message: string): string =>
  message.replace(/`(\w+)( [^`]+)?`/g, (whole, name: string, rest = '') => {
    const command = commands.get(name);
    if (command !== undefined) return `"dejavu ${command}${rest}"`;
    const flag = flagOf.get(name);
    return flag === undefined ? whole : `${flag}${rest}`;
  });

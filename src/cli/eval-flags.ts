import { optionsOf } from '../eval/asked.ts';
import { tasks } from '../eval/tasks/index.ts';
import { flag, type Flags, repeated } from './flag.ts';
import { ending, list, real, someText, text, whole } from './values.ts';

export const evalFlags = {
  tasks: flag(
    '--tasks <names>',
    `what to measure: ${tasks.map(({ name }) => name).join(', ')}`,
    list(text),
  ),
  text: repeated(
    '--text <files...>',
    'texts to score, one after another; of a folder, its .txt files',
    text,
  ),
  data: flag('--data <folder>', 'where files of items lie, such as piqa.jsonl', someText),
  limit: flag(
    '--limit <n>',
    'score at most n: ids of a text, items of a file (default: all)',
    whole(1),
  ),
  plot: flag('--plot <file.svg>', 'also draw the curve, as an SVG', ending('.svg')),
};

const ofKind = {
  whole: ({ least }: { least: number }) => ['<n>', whole(least)] as const,
  number: ({ least, most }: { least: number; most?: number }) =>
    ['<x>', real(least, most)] as const,
  text: () => ['<text>', someText] as const,
};

/** Options of the tasks that are listed, by name. */
export const taskFlags: Flags = Object.fromEntries(
  [...optionsOf(tasks)].map(([name, option]) => {
    const [value, parse] = ofKind[option.kind](option as never);
    const long = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    const of = tasks.filter(({ options = {} }) => name in options).map((task) => task.name);
    return [
      name,
      flag<string | number>(`${long} ${value}`, `of ${of.join(', ')}: ${option.help}`, parse),
    ];
  }),
);

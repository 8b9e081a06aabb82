import { EngineError } from '../errors.ts';
import { replaceFile } from '../loaders/fs.ts';

/**
 * Pictures of figures, each an SVG of its own: no scripts, no fonts, no links; colours for light and dark
 * surroundings. What is drawn says by a class what it is.
 */

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** A whole picture of parts; `label` tells it to those who cannot see it. */
export const picture = ({ width, height }: Size, label: string, parts: readonly string[]): string =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(label)}">`,
    `<style>${style}</style>`,
    `<rect class="ground" width="${width}" height="${height}"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n');

/** Write one, as a whole or not at all. Throws `FILE_NOT_FOUND` where it cannot. */
export async function savePicture(path: string, svg: string): Promise<void> {
  try {
    await replaceFile(path, [new TextEncoder().encode(svg)]);
  } catch (cause) {
    throw new EngineError(
      'FILE_NOT_FOUND',
      `${path}: cannot be written (${(cause as Error).message}); expected a place for a file; choose another`,
      { cause },
    );
  }
}

/** A text whose beginning, or its `end`, is at x on the line y. */
export const text = (
  x: number,
  y: number,
  content: string,
  kind: string,
  anchor: 'start' | 'middle' | 'end' = 'start',
): string =>
  `<text class="${kind}" x="${place(x)}" y="${place(y)}"${anchor === 'start' ? '' : ` text-anchor="${anchor}"`}>${escaped(content)}</text>`;

/** A length or a place, in hundredths at most. */
export const place = (x: number): string => String(Math.round(100 * x) / 100);

/** Three digits. */
export const figure = (x: number): string => (x >= 100 ? x.toFixed(0) : x.toPrecision(3));

export function amount(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB'];
  const power = Math.min(3, Math.max(0, Math.floor(Math.log10(bytes) / 3)));
  return `${figure(bytes / 1000 ** power)} ${units[power]}`;
}

/** A curve through points, ascending in x; its name stands at its end. */
export interface Curve {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

/** Where in 0 … 1 a value lies on a horizontal axis, and which values are marked. */
export interface Axis {
  readonly at: (x: number) => number;
  readonly marks: readonly { readonly x: number; readonly label: string }[];
}

export interface Chart {
  readonly title: string;
  readonly curves: readonly Curve[];
  readonly axis: Axis;
  /** Room for names beside the ends of curves. */
  readonly names: number;
}

/** Of a chart, its title and the marks below it included. */
export const chartHeight = 236;

const [chartMargin, chartLeft, chartHigh] = [24, 72, 180];

/** Curves on axes of their own, in a picture of this width, from `top` on; the vertical one begins at 0. */
export function chart({ title, curves, axis, names }: Chart, width: number, top: number): string[] {
  const across = width - chartLeft - chartMargin - names;
  const rows = ticks(Math.max(...curves.flatMap(({ points }) => points.map(({ y }) => y))), 4);
  const bottom = top + 32 + chartHigh;
  const at = (x: number): number => chartLeft + across * axis.at(x);
  const above = (y: number): number => bottom - (chartHigh * y) / rows[rows.length - 1];
  const ends = curves
    .map(({ name, points }, i) => ({ name, kind: i % lineColours, ...points[points.length - 1] }))
    .sort((a, b) => a.y - b.y);
  let lowest = Infinity;
  return [
    text(chartMargin, top + 18, title, 'panel'),
    ...rows.flatMap((value) => [
      `<path class="grid" d="M${chartLeft} ${place(above(value))}h${place(across)}"/>`,
      text(chartLeft - 8, above(value) + 4, short(value), 'quiet', 'end'),
    ]),
    ...axis.marks.map(({ x, label }) => text(at(x), bottom + 18, label, 'quiet', 'middle')),
    ...curves.map(
      ({ points }, i) =>
        `<path class="line line${i % lineColours}" d="M${points.map(({ x, y }) => `${place(at(x))} ${place(above(y))}`).join('L')}"/>`,
    ),
    ...ends.flatMap(({ name, kind, x, y }) => {
      // Names of curves that end near each other stand one above the other.
      lowest = Math.min(above(y) + 4, lowest - 14);
      return [
        `<circle class="end${kind}" cx="${place(at(x))}" cy="${place(above(y))}" r="3"/>`,
        text(at(x) + 8, lowest, [name, figure(y)].filter(Boolean).join(' '), 'figure'),
      ];
    }),
  ];
}

/** Round numbers from 0 to `most` or the next above it, `count` steps or so. */
export function ticks(most: number, count: number): number[] {
  const rough = most / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((n) => n * power >= rough)!;
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, i) => i * step);
}

/** 20k for 20,000, and no digits that a step's rounding made. */
export function short(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(6))}M`;
  if (value >= 1e4) return `${Number((value / 1e3).toPrecision(6))}k`;
  return String(Number(value.toPrecision(6)));
}

const escaped = (content: string): string =>
  content.replaceAll(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

/** Of curves, for light and for dark surroundings. */
const colours = [
  ['#2f6fde', '#4d8dff'],
  ['#b7791f', '#d9a23d'],
  ['#1a7f37', '#3fb950'],
  ['#8250df', '#a371f7'],
  ['#cf222e', '#f85149'],
  ['#0a7b83', '#39c5cf'],
  ['#6e7781', '#9198a1'],
] as const;
const lineColours = colours.length;

const lineStyle = (which: 0 | 1): string =>
  colours
    .map((pair, i) => `.line${i}{stroke:${pair[which]}}\n.end${i}{fill:${pair[which]}}`)
    .join('\n');

const style = `
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;fill:#1f2328}
.title{font-size:17px;font-weight:600}
.panel{font-weight:600}
.quiet{fill:#59636e}
.figure{font-variant-numeric:tabular-nums}
.ground{fill:#ffffff}
.ours{fill:#2f6fde}
.peer{fill:#b7791f}
.whisker{stroke:#1f2328;stroke-width:1.2;fill:none}
.grid{stroke:#d1d9e0;fill:none}
.line{stroke-width:1.6;stroke-linejoin:round;fill:none}
${lineStyle(0)}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}
.quiet{fill:#9198a1}
.ground{fill:#0d1117}
.ours{fill:#4d8dff}
.peer{fill:#d9a23d}
.whisker{stroke:#e6edf3}
.grid{stroke:#30363d}
${lineStyle(1)}
}
`;

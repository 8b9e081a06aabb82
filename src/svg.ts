import { EngineError } from './errors.ts';
import { replaceFile } from './loaders/fs.ts';

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
      `--plot ${path}: cannot be written (${(cause as Error).message}); expected a place for a file; choose another`,
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

const escaped = (content: string): string =>
  content.replaceAll(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

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
.line{stroke:#2f6fde;stroke-width:1.6;stroke-linejoin:round;fill:none}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}
.quiet{fill:#9198a1}
.ground{fill:#0d1117}
.ours{fill:#4d8dff}
.peer{fill:#d9a23d}
.whisker{stroke:#e6edf3}
.grid{stroke:#30363d}
.line{stroke:#4d8dff}
}
`;

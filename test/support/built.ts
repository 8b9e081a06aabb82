import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The program as `npm run build` makes it. */
export const program = join(root, 'dist/cli/main.js');

const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
  .map((file) => statSync(join(root, 'src', file)).mtimeMs);

/** Whether it was built of the sources as they are. */
export const isBuilt = existsSync(program) && statSync(program).mtimeMs >= Math.max(...sources);

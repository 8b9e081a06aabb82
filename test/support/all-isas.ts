/**
 * Importing this compiles the kernels of every instruction set, where some are missing or out of date:
 * `npm install` makes only those that the machine runs best and the plain ones. Objects are kept, so once
 * is enough until native/src changes. `DEJAVU_ISAS` names fewer. Another build (`DEJAVU_LLM_PREBUILD`) is tested as it is.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../../scripts/install.mjs', import.meta.url));

if (!process.env['DEJAVU_LLM_PREBUILD']) {
  const env = { ...process.env, DEJAVU_ISAS: process.env['DEJAVU_ISAS'] ?? 'all' };
  const child = spawn(process.execPath, [script], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (data) => (said += data));
  const waiting = setTimeout(
    () => console.warn('the kernels of every instruction set are compiled first: a minute or more'),
    1000,
  );
  await once(child, 'close');
  clearTimeout(waiting);
  if (!said.includes('up to date')) console.warn(said.trim());
}

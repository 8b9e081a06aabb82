/**
 * Breaks GGUF and safetensors headers, 100 000 of each or as many as said, and prints how each ended:
 *
 *   node runs/fuzz.mjs [COUNT] [SEED]
 *
 * The harness is test/fuzz.test.ts; memory of JavaScript is limited to 256 MB.
 */
import { spawnSync } from 'node:child_process';

const [count = '100000', seed = '1'] = process.argv.slice(2);
const { status } = spawnSync(
  process.execPath,
  ['node_modules/vitest/vitest.mjs', 'run', 'test/fuzz.test.ts', '--pool=forks'],
  {
    cwd: new URL('..', import.meta.url),
    env: {
      ...process.env,
      DEJAVU_FUZZ: count,
      DEJAVU_FUZZ_SEED: seed,
      NODE_OPTIONS: '--max-old-space-size=256',
    },
    stdio: 'inherit',
  },
);
process.exitCode = status ?? 1;

// Makes the native backend available: `npm install` runs this with plain Node.
//
// A prebuilt binary for this platform is used as it is; otherwise native/ is compiled with the C++
// compiler at hand. Without one the package still works, on its TypeScript backend: exit status 0.
//
//   node scripts/install.mjs [--force]     --force: compile although a binary is there
//   CXX=clang++                            which compiler
//   DEJAVU_SANITIZE=address,undefined      compile with these sanitizers, into a package folder of its
//                                          own: DEJAVU_LLM_PREBUILD=$PWD/build/Sanitize loads it
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const { sourcesHash } = require('../native/sources.cjs');
const sources = path.join(root, 'native', 'src');
const sanitize = process.env.DEJAVU_SANITIZE ?? '';
const output = path.join(root, sanitize ? 'build/Sanitize' : '', 'build/Release');
const binary = path.join(output, 'dejavu.node');
const hashFile = path.join(output, 'sources.sha256');
const force = process.argv.includes('--force');

const say = (text) => console.log(`dejavu-llm: ${text}`);
const fallback = 'the TypeScript backend will be used, which is slow';

const avx512 = '-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mf16c'.split(' ');

/** Instruction sets of each processor family and their compiler flags. */
const isaFlags = {
  x64: {
    amx: [...avx512, '-mavx512bf16', '-mamx-tile', '-mamx-bf16', '-mamx-int8'],
    avx512,
    avx2: ['-mavx2', '-mfma', '-mf16c'],
    scalar: [],
  },
  arm64: { neon: [], scalar: [] },
}[process.arch] ?? { scalar: [] };

const flags = [
  ...['-std=c++20', sanitize ? '-O1' : '-O3', '-g1', '-fPIC', '-pthread', '-fvisibility=hidden'],
  // Multiplications and additions are fused only where the source says so: results stay the same.
  ...['-ffp-contract=off', '-fno-math-errno', '-fno-trapping-math'],
  ...['-Wall', '-Wextra', '-Wno-uninitialized', '-Wno-maybe-uninitialized'],
  ...['-DNAPI_VERSION=8', '-D_GNU_SOURCE'],
  ...(sanitize ? [`-fsanitize=${sanitize}`, '-fno-omit-frame-pointer'] : []),
];

const linkFlags = [
  '-shared',
  '-pthread',
  ...(process.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : []),
  ...(sanitize ? [`-fsanitize=${sanitize}`] : []),
];

function prebuilt() {
  try {
    const found = require('node-gyp-build').path(root);
    return found.includes(`${path.sep}prebuilds${path.sep}`) ? found : undefined;
  } catch {
    return undefined;
  }
}

function compiler() {
  const candidates = [process.env.CXX, 'c++', 'g++', 'clang++'].filter(Boolean);
  return candidates.find((name) => spawnSync(name, ['--version']).status === 0);
}

/** Whether tiles can be compiled, and used: they need GCC 11 or Clang 12, and Linux. */
function compilesTiles(cxx) {
  const { amx } = isaFlags;
  if (!amx || process.platform !== 'linux') return false;
  const input = `#include <immintrin.h>
    void multiply(void* p) { _tile_loadd(0, p, 64); _tile_dpbf16ps(1, 2, 0); _tile_dpbssd(1, 2, 0); }
    __m512bh round(__m512 a) { return _mm512_cvtne2ps_pbh(a, a); }`;
  const args = [...amx, '-x', 'c++', '-c', '-', '-o', os.devNull];
  return spawnSync(cxx, args, { input }).status === 0;
}

/** Everything the binary depends on. */
function fingerprint(cxx, tiles) {
  const hash = createHash('sha256').update(sourcesHash(root));
  const version = spawnSync(cxx, ['--version'], { encoding: 'utf8' }).stdout;
  const all = [version, process.arch, flags, isaFlags, tiles, linkFlags];
  return hash.update(JSON.stringify(all)).digest('hex');
}

function execute(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let log = '';
    child.stdout.on('data', (data) => (log += data));
    child.stderr.on('data', (data) => (log += data));
    child.on('error', reject);
    child.on('close', (status) =>
      status === 0 ? resolve(log) : reject(new Error(`${command} ${args.join(' ')}\n${log}`)),
    );
  });
}

/** Run jobs, as many at a time as there are processors. */
async function inParallel(jobs) {
  const queue = [...jobs];
  const worker = async () => {
    for (let job = queue.shift(); job; job = queue.shift()) await job();
  };
  await Promise.all(Array.from({ length: os.availableParallelism() }, worker));
}

async function compile(cxx, tiles) {
  const headers = require('node-api-headers').include_dir;
  fs.mkdirSync(output, { recursive: true });
  const work = fs.mkdtempSync(path.join(output, 'o-'));
  try {
    const units = fs
      .readdirSync(sources)
      .filter((name) => name.endsWith('.cc'))
      .map((name) => ({ name, isa: /^isa_(\w+)\.cc$/.exec(name)?.[1] }))
      .filter(({ isa }) => isa === undefined || isa in isaFlags)
      .filter(({ isa }) => tiles || isa !== 'amx')
      // The longest first.
      .sort((a, b) => Number(b.isa !== undefined) - Number(a.isa !== undefined));
    const object = (name) => path.join(work, `${name}.o`);
    await inParallel(
      units.map(({ name, isa }) => async () => {
        const extra = isa ? isaFlags[isa] : tiles ? ['-DDEJAVU_AMX'] : [];
        if (name === 'addon.cc') extra.push(`-DDEJAVU_SOURCES="${sourcesHash(root)}"`);
        const source = path.join(sources, name);
        const args = [...flags, ...extra, '-isystem', headers, '-c', source, '-o', object(name)];
        const log = await execute(cxx, args);
        if (log && force) process.stderr.write(log);
      }),
    );
    const linked = path.join(work, 'dejavu.node');
    await execute(cxx, [...linkFlags, ...units.map(({ name }) => object(name)), '-o', linked]);
    fs.renameSync(linked, binary);
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

async function main() {
  const found = force || sanitize ? undefined : prebuilt();
  if (found) return say(`native backend: prebuilt ${path.relative(root, found)}`);
  if (process.platform === 'win32')
    return say(`there is no native backend for Windows yet; ${fallback}`);
  const cxx = compiler();
  if (!cxx) return say(`no C++ compiler found (CXX, c++, g++, clang++); ${fallback}`);
  const tiles = compilesTiles(cxx);
  const wanted = fingerprint(cxx, tiles);
  const built = fs.existsSync(binary) && fs.existsSync(hashFile);
  if (!force && built && fs.readFileSync(hashFile, 'utf8') === wanted)
    return say(`native backend: ${path.relative(root, binary)} is up to date`);
  const start = performance.now();
  try {
    await compile(cxx, tiles);
  } catch (error) {
    if (force) console.error(error.message);
    const [line = ''] = error.message.split('\n').filter((text) => /error/i.test(text));
    return say(`${cxx} could not compile the native backend (${line.trim()}); ${fallback}`);
  }
  fs.writeFileSync(hashFile, wanted);
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  say(`native backend: compiled ${path.relative(root, binary)} with ${cxx} in ${seconds} s`);
}

await main();

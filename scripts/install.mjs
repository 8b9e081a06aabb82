// Makes the native backend available: `npm install` runs this with plain Node.
//
// A prebuilt binary for this platform is used as it is; otherwise native/ is compiled with the C++
// compiler at hand: for the best instruction set that this processor has, and the plain one, which runs
// anywhere. Without a compiler the package still works, on its TypeScript backend: exit status 0.
//
//   node scripts/install.mjs [--force]     --force: compile although a binary is there, and show warnings
//   CXX=clang++                            which compiler
//   DEJAVU_ISAS=all                        compile for every instruction set of this kind of processor: what
//                                          tests need, and a binary that other machines run
//   DEJAVU_ISAS=avx2,scalar                compile for these
//   DEJAVU_SANITIZE=address,undefined      compile with these sanitizers, into a package folder of its
//                                          own: DEJAVU_LLM_PREBUILD=$PWD/build/Sanitize loads it
//
// Objects are kept in build/objects, by a hash of all they are made of: what did not change is not compiled
// again.
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
const store = path.join(root, 'build', 'objects');
const sanitize = process.env.DEJAVU_SANITIZE ?? '';
const asked = process.env.DEJAVU_ISAS ?? '';
const output = path.join(root, sanitize ? 'build/Sanitize' : '', 'build/Release');
const binary = path.join(output, 'dejavu.node');
/** What the binary was made of: `{ made, isas }`. */
const record = path.join(output, 'made-of.json');
const force = process.argv.includes('--force');

/** So many objects are kept: those of the last builds, with and without sanitizers. */
const keptObjects = 40;

const say = (text) => console.log(`dejavu-llm: ${text}`);
const fallback = 'the TypeScript backend will be used, which is slow';

const avx512 = '-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mf16c'.split(' ');

/**
 * The plain kernels: loops over lanes are unrolled and then vectorized as straight code, on top of -O1. That
 * takes 40 % of the time of -O3 to compile and is about as fast; -O1 alone is 2 to 10 times slower. Not -O2:
 * GCC 12.2 then compiles products of 4- and 2-bit weights with f32 wrongly (148 cases of the conformance tests
 * fail; none with these, -O1, -O3 or -O2 -fno-tree-loop-vectorize).
 */
const scalar = sanitize ? [] : ['-O1', '-ftree-slp-vectorize', '-funroll-loops'];

/** Instruction sets of each processor family, best first, and their compiler flags. */
const isaFlags = {
  x64: {
    amx: [...avx512, '-mavx512bf16', '-mamx-tile', '-mamx-bf16', '-mamx-int8'],
    avx512,
    avx2: ['-mavx2', '-mfma', '-mf16c'],
    scalar,
  },
  arm64: { neon: [], scalar },
}[process.arch] ?? { scalar };

const flags = [
  ...['-std=c++20', sanitize ? '-O1' : '-O3', '-g1', '-fPIC', '-pthread', '-fvisibility=hidden'],
  // Multiplications and additions are fused only where the source says so: results stay the same.
  ...['-ffp-contract=off', '-fno-math-errno', '-fno-trapping-math'],
  // Tiles of sums are left unset until they begin.
  ...['-Wall', '-Wextra', '-Wno-uninitialized', '-Wno-maybe-uninitialized'],
  '-Wno-missing-field-initializers',
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

/** The compiler's name and what it says of itself. */
function compiler() {
  for (const name of [process.env.CXX, 'c++', 'g++', 'clang++'].filter(Boolean)) {
    const { status, stdout } = spawnSync(name, ['--version'], { encoding: 'utf8' });
    if (status === 0) return { cxx: name, version: stdout };
  }
  return undefined;
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

/** Instruction sets of this processor, best first, as native/src/isa.cc finds them. */
function isasOfProcessor(cxx) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dejavu-probe-'));
  try {
    const program = path.join(folder, 'probe');
    const source = path.join(root, 'native', 'probe.cc');
    spawnSync(cxx, ['-std=c++20', '-D_GNU_SOURCE', source, '-o', program]);
    const { status, stdout } = spawnSync(program, { encoding: 'utf8' });
    return status === 0 ? stdout.trim().split('\n') : Object.keys(isaFlags);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** What is asked for: `isas`, and others to try where the best one does not compile. */
function wanted(cxx) {
  const known = Object.keys(isaFlags);
  const names = asked.split(',').filter(Boolean);
  const strange = names.find((name) => name !== 'all' && !known.includes(name));
  if (strange) {
    console.error(
      `dejavu-llm: DEJAVU_ISAS: ${strange}; expected all, or some of ${known.join(', ')}`,
    );
    process.exit(2);
  }
  if (names.length > 0 && !names.includes('all')) return { isas: names, others: [] };
  const candidates = names.length > 0 ? known : isasOfProcessor(cxx);
  const compilable = candidates.filter((isa) => isa !== 'amx' || compilesTiles(cxx));
  if (names.length > 0) return { isas: compilable, others: [] };
  const [best = 'scalar', ...others] = compilable;
  return { isas: [...new Set([best, 'scalar'])], others: others.filter((isa) => isa !== 'scalar') };
}

/** A file and those it includes, by path. */
function withIncludes(file, found = new Set()) {
  if (found.has(file)) return found;
  found.add(file);
  for (const [, name] of fs.readFileSync(file, 'utf8').matchAll(/^#include "(.+)"$/gm))
    withIncludes(path.join(path.dirname(file), name), found);
  return found;
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

/** Run jobs, as many at a time as there are processors; what each resolves with, or the error. */
async function inParallel(jobs) {
  const queue = jobs.entries();
  const results = [];
  const worker = async () => {
    for (const [i, job] of queue) results[i] = await job().catch((error) => error);
  };
  await Promise.all(Array.from({ length: os.availableParallelism() }, worker));
  return results;
}

/** A unit's object: from the store, or compiled into it. Its warnings lie beside it. */
async function objectOf({ cxx, version }, { name, extra }) {
  const headers = require('node-api-headers').include_dir;
  const source = path.join(sources, name);
  const hash = createHash('sha256').update(JSON.stringify([version, process.arch, flags, extra]));
  hash.update(require('node-api-headers/package.json').version);
  for (const file of withIncludes(source))
    hash
      .update(`${path.relative(sources, file)}\0`)
      .update(fs.readFileSync(file))
      .update('\0');
  const object = path.join(store, `${name}-${hash.digest('hex').slice(0, 32)}.o`);
  const warnings = `${object}.log`;
  if (fs.existsSync(object)) {
    const now = new Date();
    fs.utimesSync(object, now, now);
  } else {
    const fresh = `${object}.${process.pid}`;
    try {
      const args = [...flags, ...extra, '-isystem', headers, '-c', source, '-o', fresh];
      fs.writeFileSync(warnings, await execute(cxx, args));
      fs.renameSync(fresh, object);
    } finally {
      fs.rmSync(fresh, { force: true });
    }
  }
  if (force && fs.existsSync(warnings)) process.stderr.write(fs.readFileSync(warnings));
  return object;
}

/** Compile for these instruction sets and link. Answers with the set that failed, undefined if none did. */
async function build(tools, isas) {
  fs.mkdirSync(output, { recursive: true });
  fs.mkdirSync(store, { recursive: true });
  const compiled = `-DDEJAVU_COMPILED(X)=${isas.map((isa) => `X(${isa})`).join(' ')}`;
  const extras = { 'addon.cc': [`-DDEJAVU_SOURCES="${sourcesHash(root)}"`], 'isa.cc': [compiled] };
  const kernels = isas.map((isa) => ({ name: `isa_${isa}.cc`, isa, extra: isaFlags[isa] }));
  const others = fs
    .readdirSync(sources)
    .filter((name) => name.endsWith('.cc') && !name.startsWith('isa_'))
    .map((name) => ({ name, extra: extras[name] ?? [] }));
  const units = [...kernels, ...others]; // what takes longest comes first
  const objects = await inParallel(units.map((unit) => () => objectOf(tools, unit)));
  const failed = objects.findIndex((object) => object instanceof Error);
  if (failed >= 0) throw Object.assign(objects[failed], { isa: units[failed].isa });
  const linked = `${binary}.${process.pid}`;
  // Plainest first: of an inline function that several units have, the linker keeps the first copy, and every
  // processor must be able to run it.
  const best = Object.keys(isaFlags);
  const plainness = ({ isa }) => (isa ? best.indexOf(isa) : best.length);
  const order = [...units.keys()].sort((a, b) => plainness(units[b]) - plainness(units[a]));
  try {
    await execute(tools.cxx, [...linkFlags, ...order.map((i) => objects[i]), '-o', linked]);
    fs.renameSync(linked, binary);
  } finally {
    fs.rmSync(linked, { force: true });
  }
}

/** Remove the objects that were used longest ago. */
function prune() {
  const used = (object) => fs.statSync(path.join(store, object)).mtimeMs;
  const objects = fs.readdirSync(store).filter((name) => name.endsWith('.o'));
  for (const name of objects.sort((a, b) => used(b) - used(a)).slice(keptObjects))
    for (const file of [name, `${name}.log`]) fs.rmSync(path.join(store, file), { force: true });
}

/** Everything the binary depends on but its instruction sets. */
const madeOf = ({ version }) =>
  createHash('sha256')
    .update(JSON.stringify([sourcesHash(root), version, process.arch, flags, isaFlags, linkFlags]))
    .digest('hex');

/** The instruction sets of a binary that is already there and made of just this; else none. */
function isasThere(made) {
  try {
    const found = JSON.parse(fs.readFileSync(record, 'utf8'));
    return fs.existsSync(binary) && found.made === made ? found.isas : [];
  } catch {
    return [];
  }
}

/** Runs `work` while nobody else compiles into this folder: two of them would compile everything twice. */
async function alone(work) {
  const lock = path.join(root, 'build', 'compiling');
  for (;;)
    try {
      fs.mkdirSync(path.dirname(lock), { recursive: true });
      fs.writeFileSync(lock, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') return work(); // nothing can be written: nothing will be compiled
      if (holds(lock)) await new Promise((resolve) => setTimeout(resolve, 200));
      else fs.rmSync(lock, { force: true });
    }
  try {
    return await work();
  } finally {
    fs.rmSync(lock, { force: true });
  }
}

/** Whether the process that made a lock still runs. */
function holds(lock) {
  try {
    const pid = Number(fs.readFileSync(lock, 'utf8'));
    return pid === 0 || process.kill(pid, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
}

async function main() {
  const found = force || sanitize || asked ? undefined : prebuilt();
  if (found) return say(`native backend: prebuilt ${path.relative(root, found)}`);
  if (process.platform === 'win32')
    return say(`there is no native backend for Windows yet; ${fallback}`);
  const tools = compiler();
  if (!tools) return say(`no C++ compiler found (CXX, c++, g++, clang++); ${fallback}`);
  const { cxx } = tools;
  let { isas, others } = wanted(cxx);
  const made = madeOf(tools);
  const there = isasThere(made);
  if (!force && isas.every((isa) => there.includes(isa)))
    return say(`native backend: ${path.relative(root, binary)} is up to date`);
  const start = performance.now();
  for (;;)
    try {
      await build(tools, isas);
      break;
    } catch (error) {
      if (force) console.error(error.message);
      const [line = ''] = error.message.split('\n').filter((text) => /error/i.test(text));
      const { isa } = error;
      if (!isa || isa === 'scalar' || asked)
        return say(`${cxx} could not compile the native backend (${line.trim()}); ${fallback}`);
      say(`${cxx} could not compile for ${isa} (${line.trim()})`);
      isas = [...new Set([others.shift() ?? 'scalar', 'scalar'])];
    }
  fs.writeFileSync(record, JSON.stringify({ made, isas }));
  prune();
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  say(
    `native backend: compiled ${path.relative(root, binary)} for ${isas.join(' and ')} with ${cxx} in ${seconds} s`,
  );
}

await alone(main);

/**
 * Speed of single kernels of the native backend: kernel x shape x weights x instruction set.
 *
 *     npx tsc -p bench && node build/bench/bench/kernels.js [--isa NAME] [--threads N] [--only TEXT]
 *
 * Prints a table, then one line of JSON. Matrices take turns among copies of more than 1 GiB, so that
 * no cache holds the next one. GB/s count the weight bytes that the kernel has to read; `share` is of
 * the read bandwidth measured first, with the same threads.
 */
import os from 'node:os';
import { parseArgs } from 'node:util';
import type { Backend, Program } from '../src/backend.ts';
import { openNative } from '../src/backends/native/index.ts';
import { hostTensor, rowWriter, u32 } from '../src/rows.ts';
import { attention } from '../src/ops/attention.ts';
import { Inputs } from '../src/ops/cases/inputs.ts';
import { add } from '../src/ops/elementwise.ts';
import { linear } from '../src/ops/linear.ts';
import { linearTransposed } from '../src/ops/linear-transposed.ts';
import { rowSums } from '../src/ops/row-sums.ts';
import { weightGradient } from '../src/ops/training.ts';
import { Recorder } from '../src/program.ts';
import { byteLength, type DType, slice, type Tensor } from '../src/tensor.ts';

const { values: flags } = parseArgs({
  options: {
    isa: { type: 'string' },
    threads: { type: 'string', default: String(os.availableParallelism()) },
    only: { type: 'string', default: '' },
  },
});
const threads = Number(flags.threads);
const random = new Inputs(1);

interface Row {
  readonly name: string;
  readonly isa: string;
  /** Milliseconds of one kernel: median, least and most of the samples. */
  readonly ms: readonly [number, number, number];
  readonly gigabytesPerSecond?: number;
  readonly bandwidthShare?: number;
  readonly gigaflops?: number;
}
const rows: Row[] = [];

/** Milliseconds of one run, median, least and most. */
async function time(
  backend: Backend,
  program: Program,
  runs: number,
): Promise<[number, number, number]> {
  await backend.run(program);
  const samples: number[] = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await backend.run(program);
    samples.push(performance.now() - start);
  }
  samples.sort((a, b) => a - b);
  return [samples[samples.length >> 1], samples[0], samples[samples.length - 1]];
}

async function measure(
  backend: Backend,
  name: string,
  record: (g: Recorder) => number,
  work: { bytes?: number; flops?: number; bandwidth?: number },
  runs = 7,
): Promise<Row | undefined> {
  if (!name.includes(flags.only)) return undefined;
  const g = new Recorder();
  const kernels = record(g);
  const program = await backend.compile(g.finish());
  const ms = (await time(backend, program, runs)).map((x) => x / kernels) as [
    number,
    number,
    number,
  ];
  program.release();
  const speed = work.bytes === undefined ? undefined : work.bytes / ms[0] / 1e6;
  const row: Row = {
    name,
    isa: backend.info.isa ?? '',
    ms,
    ...(speed === undefined ? {} : { gigabytesPerSecond: speed }),
    ...(speed === undefined || work.bandwidth === undefined
      ? {}
      : { bandwidthShare: speed / work.bandwidth }),
    ...(work.flops === undefined ? {} : { gigaflops: work.flops / ms[0] / 1e6 }),
  };
  rows.push(row);
  const cells = [
    row.isa.padEnd(7),
    name.padEnd(44),
    `${ms[0].toFixed(4)} ms [${ms[1].toFixed(4)}, ${ms[2].toFixed(4)}]`.padEnd(34),
    speed === undefined ? '' : `${speed.toFixed(1)} GB/s`,
    row.bandwidthShare === undefined ? '' : `${(100 * row.bandwidthShare).toFixed(0)} %`,
    row.gigaflops === undefined ? '' : `${row.gigaflops.toFixed(0)} GFLOP/s`,
  ];
  console.log(cells.join('  '));
  return row;
}

/** A tensor of random numbers; of matrices, one row is repeated. */
function filled(backend: Backend, dtype: DType, shape: readonly number[]): Tensor {
  const tensor = backend.allocate(dtype, shape, 'weights');
  const columns = shape.at(-1) ?? 1;
  const row = hostTensor(dtype, [1, columns]);
  rowWriter(row)(
    0,
    Float32Array.from({ length: columns }, () => random.uniform() - 0.5),
  );
  const bytes = new Uint8Array(byteLength(dtype, shape));
  for (let at = 0; at < bytes.length; at += row.bytes.length) bytes.set(row.bytes, at);
  backend.write(tensor, bytes);
  return tensor;
}

function selection(backend: Backend, n: number, share: number): { select: Tensor; count: number } {
  const host = random.selection(1, n, share);
  const select = backend.allocate('u32', host.shape, 'state');
  backend.write(select, host.bytes);
  return { select, count: u32(host)[0] };
}

/** Read bandwidth in GB/s: sums of 256 rows of 4 MiB. */
async function measureBandwidth(backend: Backend): Promise<number> {
  const x = backend.allocate('f32', [256, 1 << 20], 'state');
  const chunk = new Float32Array(1 << 20).fill(1);
  for (let i = 0; i < 256; i++) backend.write(slice(x, i, 1), chunk);
  const only = flags.only;
  flags.only = '';
  const row = await measure(
    backend,
    'read 1 GiB',
    (g) => (rowSums(g, x), 1),
    { bytes: 2 ** 30 },
    15,
  );
  flags.only = only;
  backend.free(x);
  return row!.gigabytesPerSecond!;
}

/** Mat-vec over matrices that no cache holds. */
async function matVec(backend: Backend, dtype: DType, bandwidth: number): Promise<void> {
  const [N, E] = [8192, 2048];
  const bytes = byteLength(dtype, [N, E]);
  const copies = Math.ceil((1.25 * 2 ** 30) / bytes);
  const all = filled(backend, dtype, [copies * N, E]);
  const matrices = Array.from({ length: copies }, (_, i) => slice(all, i * N, N));
  const [x, h] = [filled(backend, 'f32', [1, E]), filled(backend, 'f32', [1, N])];
  // Each mat-vec waits for the one before, as layers do.
  for (const share of [1, 0.1]) {
    const { select, count } = selection(backend, N, share);
    const chosen = share === 1 ? undefined : select;
    const work = { bytes: (bytes / N) * count, bandwidth };
    const label = `${dtype} [${N},${E}] ${share === 1 ? 'dense' : 'gathered 10 %'}`;
    const down = backend.allocate('f32', [1, E], 'state');
    const chained = (g: Recorder, transposed: boolean): number => {
      for (const w of matrices) {
        const y = transposed
          ? linearTransposed(g, { x: h, w, select: chosen, add: down })
          : linear(g, { x, w, select: chosen });
        add(g, y, y);
      }
      return copies;
    };
    await measure(backend, `linear ${label}`, (g) => chained(g, false), work);
    await measure(backend, `linearTransposed ${label}`, (g) => chained(g, true), work);
    for (const tensor of [select, down]) backend.free(tensor);
  }
  for (const tensor of [all, x, h]) backend.free(tensor);
}

async function matMul(backend: Backend, dtype: DType): Promise<void> {
  const [T, N, E] = [256, 8192, 2048];
  const w = filled(backend, dtype, [N, E]);
  const [x, h] = [filled(backend, 'f32', [T, E]), filled(backend, 'f32', [T, N])];
  const flops = 2 * T * N * E;
  const label = `${dtype} [${T}]x[${N},${E}]`;
  await measure(backend, `linear ${label}`, (g) => (linear(g, { x, w }), 1), { flops }, 5);
  await measure(
    backend,
    `linearTransposed ${label}`,
    (g) => (linearTransposed(g, { x: h, w }), 1),
    { flops },
    5,
  );
  if (dtype === 'f32')
    await measure(
      backend,
      `weightGradient [${T}]x[${N},${E}]`,
      (g) => (weightGradient(g, h, x), 1),
      { flops },
      5,
    );
  for (const tensor of [w, x, h]) backend.free(tensor);
}

async function attend(backend: Backend, T: number, S: number): Promise<void> {
  const [H, G, D] = [32, 32, 64];
  const [keys, values] = [1, 2].map(() => filled(backend, 'f32', [1, G, S, D]));
  const q = filled(backend, 'f32', [T, H, D]);
  const [sequences, slots] = [1, 2].map(() => backend.allocate('i32', [T], 'state'));
  backend.write(
    slots,
    Int32Array.from({ length: T }, (_, t) => S - T + t),
  );
  const flops = 4 * T * H * D * (S - T / 2);
  await measure(
    backend,
    `attention T ${T} S ${S} H ${H} D ${D}`,
    (g) => (attention(g, { q, keys, values, sequences, slots }, { scale: 0.125 }), 1),
    T === 1 ? { flops, bytes: 2 * 4 * G * S * D } : { flops },
    21,
  );
  for (const tensor of [keys, values, q, sequences, slots]) backend.free(tensor);
}

/** What a program and a stage cost beyond their kernels. */
async function overhead(backend: Backend): Promise<void> {
  const [x, y] = [1, 2].map(() => backend.allocate('f32', [1, 16], 'state'));
  const chain = (n: number) => (g: Recorder) => {
    let z = x;
    for (let i = 0; i < n; i++) z = add(g, z, y);
    return n;
  };
  await measure(backend, 'one empty program', chain(1), {}, 2001);
  await measure(backend, 'one stage of 1000', chain(1000), {}, 101);
}

const isas = flags.isa ? [flags.isa] : [undefined];
for (const isa of isas) {
  await using backend = await openNative({ threads, ...(isa ? { isa } : {}) }, process.cwd());
  const bandwidth = await measureBandwidth(backend);
  await overhead(backend);
  for (const dtype of ['f32', 'f16', 'int8', 'int4'] as const)
    await matVec(backend, dtype, bandwidth);
  for (const dtype of ['f32', 'f16', 'int8', 'int4'] as const) await matMul(backend, dtype);
  for (const [T, S] of [
    [1, 512],
    [1, 4096],
    [256, 512],
  ])
    await attend(backend, T, S);
}
console.log(JSON.stringify({ cpu: os.cpus()[0]?.model, threads, rows }));

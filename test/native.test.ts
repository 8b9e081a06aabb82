import { describe, expect, it } from 'vitest';
import type { Backend, Program } from '../src/backend.ts';
import { native, openNative } from '../src/backends/native/index.ts';
import { firstThatOpens } from '../src/backends/open.ts';
import { reference } from '../src/backends/reference/index.ts';
import { add } from '../src/ops/elementwise.ts';
import { linear } from '../src/ops/linear.ts';
import { Recorder } from '../src/program.ts';
import { size, type Tensor } from '../src/tensor.ts';

describe.skipIf(native.isas().length === 0)('the native backend', () => {
  /** A program of some milliseconds. */
  function work(backend: Backend, T = 64, N = 1024): Promise<Program> {
    const [x, w] = [
      [T, N],
      [N, N],
    ].map((shape) => backend.allocate('f32', shape, 'state'));
    const g = new Recorder();
    let y = x;
    for (let i = 0; i < 20; i++) y = linear(g, { x: y, w });
    g.keep(y);
    return backend.compile(g.finish());
  }

  it('leaves the event loop free while a program runs', async () => {
    await using backend = await native.open({ threads: 1 });
    const program = await work(backend);
    let done = false;
    const run = backend.run(program).then(() => (done = true));
    let turns = 0;
    while (!done) {
      await new Promise((resolve) => setImmediate(resolve));
      turns++;
    }
    await run;
    expect(turns).toBeGreaterThan(10);
  });

  it('gives pieces that share pages zeros of their own', async () => {
    await using backend = await native.open({ threads: 1 });
    const [pieces, size] = [70, 150_001]; // of 600 KB: more than one region of memory
    const allocate = (): Tensor => backend.allocate('f32', [size], 'state');
    const numbers = async (t: Tensor): Promise<Float32Array> =>
      new Float32Array((await backend.read([t]))[0].slice().buffer);
    const tensors = Array.from({ length: pieces }, allocate);
    for (const [i, tensor] of tensors.entries()) {
      expect((await numbers(tensor)).every((x) => x === 0)).toBe(true);
      backend.write(tensor, new Float32Array(size).fill(i + 1));
    }
    const large = backend.allocate('f32', [1_500_000], 'state'); // holds whole huge pages
    tensors.forEach((tensor, i) => i % 2 && backend.free(tensor));
    backend.free(large);
    const fresh = Array.from({ length: pieces }, allocate);
    for (const tensor of fresh) expect((await numbers(tensor)).every((x) => x === 0)).toBe(true);
    for (let i = 0; i < pieces; i += 2)
      expect((await numbers(tensors[i])).every((x) => x === i + 1)).toBe(true);
    for (const tensor of [...fresh, ...tensors.filter((_, i) => i % 2 === 0)]) backend.free(tensor);
  });

  it('frees memory that a compiled program still points into only with the program', async () => {
    await using backend = await native.open({ threads: 2 });
    const a = backend.allocate('f32', [1, 1 << 20], 'state');
    const g = new Recorder();
    const y = g.keep(add(g, a, a));
    const program = await backend.compile(g.finish());
    backend.free(a);
    await backend.run(program);
    expect(size(y.shape)).toBe((await backend.read([y], program))[0].byteLength / 4);
    expect(() => backend.write(a, new Float32Array(1 << 20))).toThrow(TypeError);
    program.release();
    await expect(backend.run(program)).rejects.toThrow(/released/);
  });

  it('refuses operands that lie outside their memory', async () => {
    await using backend = await native.open({});
    const a = backend.allocate('f32', [1, 8], 'state');
    const g = new Recorder();
    add(g, { ...a, byteOffset: 4 }, a);
    await expect(backend.compile(g.finish())).rejects.toThrow(/add/);
  });

  it('refuses instruction sets and threads there are not', async () => {
    await expect(native.open({ isa: 'sse9' })).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      message: expect.stringContaining('scalar') as string,
    });
    await expect(native.open({ threads: 0 })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });
});

it('says why the addon does not load, and auto passes on with that note', async () => {
  const missing = {
    name: 'native',
    summary: 'has no addon',
    open: (options: object) => openNative(options, import.meta.dirname),
  };
  await expect(missing.open({})).rejects.toMatchObject({
    code: 'BACKEND_UNAVAILABLE',
    message: expect.stringContaining('install.mjs') as string,
  });
  const { backend, notes } = await firstThatOpens([missing, reference], {});
  expect(backend.name).toBe('reference');
  expect(notes).toEqual([expect.stringContaining('No native build')]);
});

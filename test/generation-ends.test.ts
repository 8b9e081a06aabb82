/** What a batch refuses, and what is over: sessions, batches, engines and generations that ended. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../src/engine/local.ts';
import { codeOf } from './support/code-of.ts';
import { tinyModel } from './support/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'dejavu-generation-ends-'));
let engine: Engine;
beforeAll(async () => {
  const options = { weights: 'f32', sparsity: 'dense', context: 1024 } as const;
  engine = await Engine.open(tinyModel(folder, 'llama-relu'), options);
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

describe('a batch refuses', () => {
  it('a text more than it has places, another policy, and both a batch and a session', async () => {
    using batch = engine.batch({ sequences: 1 });
    using session = batch.text();
    const full = engine.generate([5], { batch }).result;
    await expect(full).rejects.toMatchObject({
      code: 'BAD_REQUEST',
      message: expect.stringContaining('1 texts are under way') as string,
    });
    const policy = { ...engine.policy, name: 'other', recent: 4 };
    using own = engine.session(undefined, policy);
    for (const options of [
      { session, policy },
      { session: own, policy: engine.policy },
    ])
      await expect(engine.generate([5], options).result).rejects.toMatchObject({
        code: 'BAD_REQUEST',
        message: expect.stringContaining('KV policy') as string,
      });
    expect(await codeOf(engine.generate([5], { session, batch }).result)).toBe('BAD_REQUEST');
    const same = { ...engine.policy };
    expect(await codeOf(engine.generate([5], { session, policy: same }).result)).toBe('none');
  });

  it('an id that is none, cutting back a text that is extended, usage of another step', async () => {
    using batch = engine.batch({ sequences: 2 });
    using session = batch.text();
    using other = batch.text();
    for (const id of [-1, 331, 1.5]) expect(await codeOf(session.decode(id))).toBe('BAD_REQUEST');
    expect(await codeOf(session.prefill(Int32Array.of(3, 331)))).toBe('BAD_REQUEST');
    expect(session.length).toBe(0);
    const under = session.decode(5);
    expect(() => session.truncate(0)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
    await under;
    await other.decode(7);
    expect(await codeOf(session.usage())).toBe('BAD_REQUEST');
    expect((await other.usage()).rows).toBe(1);
    expect(await codeOf(session.score(Int32Array.of(5), Int32Array.of(5, 6)))).toBe('BAD_REQUEST');
  });
});

describe('what is over', () => {
  it('is DISPOSED: a session, a batch and what waits in it', async () => {
    const batch = engine.batch({ sequences: 2 });
    const session = batch.text();
    const other = batch.text();
    await session.prefill(Int32Array.of(5, 6));
    session[Symbol.dispose]();
    session[Symbol.dispose]();
    expect(await codeOf(session.decode(5))).toBe('DISPOSED');
    expect(() => session.truncate(0)).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
    expect([session.length, batch.free]).toEqual([2, 1]);
    const waiting = [other.decode(5), other.decode(6)];
    const codes = waiting.map((call) => codeOf(call));
    batch[Symbol.dispose]();
    expect(await Promise.all(codes)).toEqual(['DISPOSED', 'DISPOSED']);
    expect(() => batch.text()).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
    expect(await codeOf(engine.generate([5], { batch }).result)).toBe('DISPOSED');
    other[Symbol.dispose]();
  });

  it('is DISPOSED: an engine and all its texts', async () => {
    const closed = await Engine.open(tinyModel(mkdtempSync(join(folder, 'closed-')), 'llama'));
    const session = closed.session();
    const batch = closed.batch({ sequences: 1 });
    const generation = closed.generate([5], { batch, ignoreEnd: true });
    const pieces = generation[Symbol.asyncIterator]();
    await pieces.next();
    await closed[Symbol.asyncDispose]();
    await closed[Symbol.asyncDispose]();
    const over = [
      session.decode(5),
      batch.prefill(0, Int32Array.of(5)),
      closed.generate([5]).result,
    ];
    for (const call of over) expect(await codeOf(call)).toBe('DISPOSED');
    for (const make of [() => closed.session(), () => closed.batch(), () => closed.method('dense')])
      expect(make).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
    const left = async (): Promise<void> => {
      while (!(await pieces.next()).done);
    };
    expect(await codeOf(left())).toBe('DISPOSED');
  });

  it('is a generation that was iterated', async () => {
    const generation = engine.generate([5], { maxTokens: 3 });
    await generation.result;
    expect(() => generation[Symbol.asyncIterator]()).toThrow(
      expect.objectContaining({ code: 'BAD_REQUEST' }),
    );
    const left = engine.generate([5], { maxTokens: 3, ignoreEnd: true });
    for await (const { id } of left) if (id >= 0) break;
    expect(() => left[Symbol.asyncIterator]()).toThrow(/iterated again/);
    expect((await left.result).ids).toHaveLength(1);
  });
});

import { describe, expect, it } from 'vitest';
import { EngineError } from '../errors.ts';
import { type Row, Turns } from './turns.ts';

interface Asked extends Row {
  readonly fails?: boolean;
  readonly unfit?: boolean;
}

/** Work that ends when it is told to; what ran, in order. */
function device() {
  const ran: string[] = [];
  let running = 0;
  const work = async (what: string): Promise<void> => {
    expect(++running, 'one at a time').toBe(1);
    ran.push(what);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
  };
  const turns = new Turns<Asked, string>({
    check: ({ unfit }) => {
      if (unfit) throw new EngineError('BAD_REQUEST', 'unfit');
    },
    run: async (rows) => {
      const step = `${String(rows[0].method)}${rows.map(({ text }) => text).join('')}`;
      await work(step);
      if (rows.some(({ fails }) => fails)) throw new EngineError('INTERNAL', step);
      return rows.map(({ text }) => `${text} of ${step}`);
    },
  });
  const row = (text: number, method = 'm', more: Partial<Asked> = {}): Promise<string> =>
    turns.join({ text, method, ...more });
  const parts = (text: number, count: number): Promise<void> => {
    let done = 0;
    return turns.inParts([text], async () => {
      await work(`part${text}`);
      return ++done === count;
    });
  };
  return { turns, ran, row, parts, work };
}

const nobody = new EngineError('DISPOSED', 'gone');

describe('rows', () => {
  it('that wait at the same time share a step, by method, each with its own result', async () => {
    const { ran, row } = device();
    expect(await Promise.all([row(1), row(2, 'n'), row(3), row(4, 'n')])).toEqual([
      ...['1 of m13', '2 of n24', '3 of m13', '4 of n24'],
    ]);
    expect(ran).toEqual(['m13', 'n24']);
  });

  it('stay together while their texts go on, though some take longer to ask again', async () => {
    const { ran, row } = device();
    const text = async (which: number, count: number, delay: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        await row(which);
        for (let n = 0; n < delay; n++) await Promise.resolve();
      }
    };
    await Promise.all([text(1, 3, 0), text(2, 5, 9), text(3, 4, 2)]);
    expect(ran).toEqual(['m123', 'm132', 'm132', 'm32', 'm2']);
  });

  it('do not wait for who waits for something else', async () => {
    const { ran, row } = device();
    const slow = (async () => {
      await row(1);
      await new Promise((resolve) => setTimeout(resolve, 50));
      await row(1);
    })();
    for (let i = 0; i < 5; i++) await row(2);
    expect(ran).toEqual(['m12', 'm2', 'm2', 'm2', 'm2']);
    await slow;
    expect(ran.at(-1)).toBe('m1');
  });

  it('of one text run one after the other, in order', async () => {
    const { ran, row, parts } = device();
    await Promise.all([row(1), row(1), row(2), parts(2, 2), row(2), row(1)]);
    expect(ran).toEqual(['m12', 'm1', 'part2', 'm1', 'part2', 'm2']);
  });

  it('are refused or fail without harm to others', async () => {
    const { ran, row } = device();
    const settled = await Promise.allSettled([
      ...[row(1), row(2, 'm', { unfit: true }), row(3, 'n', { fails: true }), row(4, 'n'), row(5)],
    ]);
    expect(settled.map(({ status }) => status)).toEqual([
      ...['fulfilled', 'rejected', 'rejected', 'rejected', 'fulfilled'],
    ]);
    expect(await row(3, 'n')).toBe('3 of n3');
    expect(ran).toEqual(['m15', 'n34', 'n3']);
  });
});

describe('work in parts', () => {
  it('gives way to rows and to the parts of others', async () => {
    const { ran, row, parts } = device();
    const long = parts(1, 3);
    const other = parts(2, 2);
    const decoding = (async () => {
      for (let i = 0; i < 4; i++) await row(3);
    })();
    await Promise.all([long, other, decoding]);
    expect(ran).toEqual(['part1', 'part2', 'm3', 'part1', 'part2', 'm3', 'part1', 'm3', 'm3']);
  });

  it('stops where it throws', async () => {
    const { turns, row } = device();
    const failing = turns.inParts([1], () => Promise.reject(new EngineError('INTERNAL', 'broken')));
    await expect(failing).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(await row(1)).toBe('1 of m1');
  });
});

describe('an end', () => {
  it('of a text: what waits of it is rejected, what runs ends with its part', async () => {
    const { turns, ran, row, parts } = device();
    const all = Promise.allSettled([parts(1, 5), row(1), row(2)]);
    while (ran.length === 0) await Promise.resolve();
    expect([turns.runs(1), turns.busy(2), turns.runs(2)]).toEqual([true, true, false]);
    turns.withdraw(1, nobody);
    const [first, second, third] = await all;
    expect(first).toMatchObject({ reason: { code: 'DISPOSED' } });
    expect(second).toMatchObject({ reason: { code: 'DISPOSED' } });
    expect(third).toEqual({ status: 'fulfilled', value: '2 of m2' });
    expect(ran).toEqual(['part1', 'm2']);
    expect(turns.busy(1)).toBe(false);
  });

  it('of all: after what runs, and nothing is taken on', async () => {
    const { turns, ran, row, work } = device();
    const first = row(1);
    const second = turns.alone([2], () => work('alone'));
    while (ran.length === 0) await Promise.resolve();
    let ended = 0;
    turns.close(nobody, () => ended++);
    expect(ended).toBe(0);
    await expect(second).rejects.toMatchObject({ code: 'DISPOSED' });
    await expect(row(3)).rejects.toMatchObject({ code: 'DISPOSED' });
    expect(await first).toBe('1 of m1');
    expect(ended).toBe(1);
    turns.close(nobody, () => ended++);
    expect([ended, ran]).toEqual([1, ['m1']]);
  });
});

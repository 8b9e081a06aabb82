import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Op } from './op.ts';
import { addOp } from './ops/elementwise.ts';
import { type Command, placeScratch, Recorder, type Recording } from './program.ts';
import { baseOf, byteLength, reshape, slice, type Storage, type Tensor } from './tensor.ts';

/** One step of a random recording: which tensors it adds, and where the sum goes. */
interface Step {
  readonly a: number;
  readonly b: number;
  /** Into new scratch, or over an older tensor. */
  readonly into: 'new' | 'old';
  readonly old: number;
  readonly rows: number;
  readonly view: 'whole' | 'reshaped' | 'sliced';
  readonly keep: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  a: fc.nat(),
  b: fc.nat(),
  into: fc.constantFrom('new', 'new', 'old'),
  old: fc.nat(),
  rows: fc.integer({ min: 1, max: 9 }),
  view: fc.constantFrom('whole', 'whole', 'reshaped', 'sliced'),
  keep: fc.boolean(),
});

const columns = 8;

/** Tensors of one size are added to one another; two of each size lie in storage of their own. */
function record(steps: readonly Step[]): {
  commands: readonly Command[];
  recording: Recording;
  kept: Set<Tensor>;
} {
  const g = new Recorder();
  const kept = new Set<Tensor>();
  const bySize = new Map<number, Tensor[]>();
  for (const { a, b, into, old, rows, view, keep } of steps) {
    const pool = bySize.get(rows) ?? [stored(rows), stored(rows)];
    bySize.set(rows, pool);
    const seen = (tensor: Tensor): Tensor => {
      if (view === 'reshaped') return reshape(reshape(tensor, [columns, rows]), [rows, columns]);
      return view === 'sliced' ? slice(tensor, 0, 1) : tensor;
    };
    const [left, right] = [pool[a % pool.length], pool[b % pool.length]];
    const y = into === 'new' ? g.scratch('f32', left.shape) : pool[old % pool.length];
    g.record(addOp, { a: seen(left), b: seen(right), y: seen(y) }, {});
    pool.push(y);
    if (keep) kept.add(g.keep(y));
  }
  return { commands: g.commands, recording: g.finish(), kept };
}

function stored(rows: number): Tensor {
  const storage: Storage = { bytes: rows * columns * 4, role: 'state' };
  return { dtype: 'f32', shape: [rows, columns], role: 'state', storage, byteOffset: 0 };
}

const memory = (tensor: Tensor): object => tensor.storage ?? baseOf(tensor);

const uses = ({ op, operands }: Command): { at: object; writes: boolean }[] =>
  Object.entries(operands).map(([name, tensor]) => ({
    at: memory(tensor!),
    writes: op.writes.includes(name),
  }));

/** Whether one of the two writes what the other reads or writes. */
const conflict = (a: Command, b: Command): boolean =>
  uses(a).some((x) => uses(b).some((y) => x.at === y.at && (x.writes || y.writes)));

function stageOf(recording: Recording): Map<Command, number> {
  return new Map(
    recording.stages.flatMap((stage, i) => stage.map((command) => [command, i] as const)),
  );
}

const steps = fc.array(step, { minLength: 1, maxLength: 40 });

describe('stages', () => {
  it('run every command once, after all it conflicts with that was recorded before', () => {
    fc.assert(
      fc.property(steps, (input) => {
        const { commands, recording } = record(input);
        const stage = stageOf(recording);
        expect(recording.stages.flat()).toHaveLength(commands.length);
        commands.forEach((later, j) =>
          commands.slice(0, j).forEach((earlier) => {
            if (conflict(earlier, later))
              expect(stage.get(earlier)).toBeLessThan(stage.get(later)!);
          }),
        );
      }),
    );
  });

  it('are as early as conflicts allow', () => {
    fc.assert(
      fc.property(steps, (input) => {
        const { recording } = record(input);
        recording.stages.forEach((stage, i) => {
          for (const command of stage)
            if (i > 0)
              expect(recording.stages[i - 1].some((before) => conflict(before, command))).toBe(
                true,
              );
        });
      }),
    );
  });
});

describe('scratch', () => {
  const alignment = 256;

  /** Each scratch tensor's place in memory, and the stages in which it must be there. */
  function lives(recording: Recording, kept: ReadonlySet<Tensor>) {
    return [...placeScratch(recording, alignment).offsets].map(([tensor, offset]) => {
      const used = recording.stages.flatMap((stage, i) =>
        stage.some((command) => uses(command).some(({ at }) => at === tensor)) ? [i] : [],
      );
      return {
        begin: offset,
        end: offset + byteLength(tensor.dtype, tensor.shape),
        first: used[0],
        last: kept.has(tensor) ? Infinity : used[used.length - 1],
      };
    });
  }

  it('is there for every scratch tensor, aligned and within the arena', () => {
    fc.assert(
      fc.property(steps, (input) => {
        const { commands, recording, kept } = record(input);
        const arena = placeScratch(recording, alignment);
        const bases = new Set(
          commands.flatMap(({ operands }) =>
            Object.values(operands).flatMap((t) => (t && !t.storage ? [baseOf(t)] : [])),
          ),
        );
        expect(new Set(arena.offsets.keys())).toEqual(bases);
        for (const { begin, end } of lives(recording, kept)) {
          expect(begin % alignment).toBe(0);
          expect(end).toBeLessThanOrEqual(arena.bytes);
        }
      }),
    );
  });

  it('is never shared by tensors that live in the same stage', () => {
    fc.assert(
      fc.property(steps, (input) => {
        const { recording, kept } = record(input);
        const all = lives(recording, kept);
        all.forEach((a, i) =>
          all.slice(0, i).forEach((b) => {
            const together = a.first <= b.last && b.first <= a.last;
            if (together) expect(a.end <= b.begin || b.end <= a.begin).toBe(true);
          }),
        );
      }),
    );
  });

  it('is shared by tensors that follow one another', () => {
    const g = new Recorder();
    let y = stored(4);
    for (let i = 0; i < 10; i++) {
      const next = g.scratch('f32', y.shape);
      g.record(addOp, { a: y, b: y, y: next }, {});
      y = next;
    }
    expect(placeScratch(g.finish(), 64).bytes).toBe(2 * 4 * columns * 4);
  });

  it('cannot be kept where nothing writes it', () => {
    const g = new Recorder();
    g.keep(g.scratch('f32', [1, 1]));
    expect(() => g.finish()).toThrow(/kept/);
  });
});

describe('what is recorded wrong is named', () => {
  const g = new Recorder();
  const x = stored(2);
  const record =
    (operands: object, params: object = {}) =>
    (): void =>
      g.record<string, string>(scaleOp, operands, params as { by: number });
  const scaleOp: Op = {
    ...{ name: 'scale', operands: ['x', 'bias', 'y'], writes: ['y'], params: ['by'] },
    ...{ check: () => undefined, reference: () => undefined, cases: () => [] },
  };

  it.each([
    [
      'an operand the op does not list',
      { x, biass: x, y: x },
      { by: 1 },
      /scale: there is no operand biass; expected some of x, bias, y/,
    ],
    [
      'a parameter it does not list',
      { x, y: x },
      { by: 1, eps: 1 },
      /scale: there is no parameter eps; expected by/,
    ],
    ['a missing parameter', { x, y: x }, {}, /scale: parameter by is undefined/],
    ['a parameter that is no number', { x, y: x }, { by: NaN }, /scale: parameter by is NaN/],
  ])('%s', (_what, operands, params, message) => {
    expect(record(operands, params)).toThrow(message);
    expect(g.commands).toEqual([]);
  });

  it('scratch that is read before anything writes it', () => {
    const g = new Recorder();
    const y = g.scratch('f32', [2, columns]);
    g.record(addOp, { a: x, b: slice(y, 0, 2), y: g.scratch('f32', [2, columns]) }, {});
    g.record(addOp, { a: x, b: x, y }, {});
    expect(() => g.finish()).toThrow(/add: reads b \[2,8\], scratch that no command before it/);
  });

  it('a type there is not', () => {
    expect(() => byteLength('f8' as 'f16', [2, 2])).toThrow(/there is no type f8, expected f32/);
  });
});

it('refuses operands that do not fit when they are recorded', () => {
  const g = new Recorder();
  expect(() => g.record(addOp, { a: stored(2), b: stored(3), y: stored(2) }, {})).toThrow(
    /add: operand b has shape \[3,8\]/,
  );
  expect(g.commands).toEqual([]);
});

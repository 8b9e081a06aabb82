import { i32, u32 } from '../rows.ts';
import type { Op } from '../op.ts';
import type { Recorder } from '../program.ts';
import { rowBytes, type Tensor } from '../tensor.ts';
import { selected } from './selection.ts';
import { bind, expectSelection, expectType } from './shape.ts';

/** P: inputs that are kept of each text, and so the most tokens whose key and value a head may miss. */
export const backlogRows = 16;

/** ring[sequences[0], positions[0] mod P] = x[0]: what keys and values of a token are made of. */
export const keepInputOp: Op<'x' | 'sequences' | 'positions' | 'ring', never> = {
  name: 'keepInput',
  operands: ['x', 'sequences', 'positions', 'ring'],
  writes: ['ring'],
  params: [],
  check(t) {
    bind('keepInput', { x: '1 E', sequences: '1', positions: '1', ring: 'B P E' }, t);
    expectType('keepInput', 'x', t.x, 'f32', 'int8');
    expectType('keepInput', 'ring', t.ring, t.x!.dtype);
    expectType('keepInput', 'sequences', t.sequences, 'i32');
    expectType('keepInput', 'positions', t.positions, 'i32');
  },
  reads: () => [],
  reference({ x, sequences, positions, ring }) {
    const [, P = 1, E = 0] = ring!.shape;
    const row = i32(sequences!)[0] * P + (i32(positions!)[0] % P);
    ring!.bytes.set(x!.bytes, row * rowBytes(ring!.dtype, E));
  },
};

/** Record the keeping of x [1, E] in ring [B, P, E]. */
export function keepInput(
  g: Recorder,
  operands: { x: Tensor; sequences: Tensor; positions: Tensor; ring: Tensor },
): void {
  g.record(keepInputOp, operands, {});
}

/** y[i] = the last position up to positions[0] that is i modulo P: where the rows of a ring come from. */
export const recentOp: Op<'positions' | 'y', never> = {
  name: 'recent',
  operands: ['positions', 'y'],
  writes: ['y'],
  params: [],
  check(t) {
    bind('recent', { positions: '1', y: 'P' }, t);
    expectType('recent', 'positions', t.positions, 'i32');
    expectType('recent', 'y', t.y, 'i32');
  },
  reference({ positions, y }) {
    const last = i32(positions!)[0];
    const P = y!.shape[0];
    // Of rows that no position has reached yet, any place will do.
    for (let i = 0; i < P; i++) i32(y!)[i] = i > last ? 0 : last - ((last - i) % P);
  },
};

/** Record the positions [P] of the rows of a ring once `positions` [1] is kept. */
export function recent(g: Recorder, positions: Tensor): Tensor {
  const y = g.scratch('i32', [backlogRows]);
  g.record(recentOp, { positions, y }, {});
  return y;
}

/**
 * Which heads catch up, and from where on.
 *
 * Positions 0 … known[sequence, g] - 1 of head g have key and value; complete[0] positions of the text have
 * those of all heads, whatever `known` says, and none beyond positions[0] has any: a text that was cut
 * back has lost them. With `fresh`, the token at positions[0] is new and no head has it.
 *
 * `chosen` [1, 1 + G]: heads that miss something and are selected, or that miss as many as are kept,
 * `rows`. `missing` [2 + G]: the sequence, the end of what is missing, then for each head where that
 * begins. From then on, chosen heads miss nothing.
 */
export const backlogOp: Op<
  'select' | 'sequences' | 'positions' | 'complete' | 'known' | 'chosen' | 'missing',
  'rows' | 'fresh'
> = {
  name: 'backlog',
  operands: ['select', 'sequences', 'positions', 'complete', 'known', 'chosen', 'missing'],
  writes: ['known', 'chosen', 'missing'],
  params: ['rows', 'fresh'],
  check(t) {
    const { G = 0 } = bind('backlog', { known: 'B G' }, t);
    const one = { sequences: '1', positions: '1', complete: '1' };
    bind('backlog', { ...one, chosen: `1 ${1 + G}`, missing: String(2 + G) }, t);
    expectSelection('backlog', t.select, 1, G);
    expectType('backlog', 'chosen', t.chosen, 'u32');
    for (const name of ['sequences', 'positions', 'complete', 'known', 'missing'] as const)
      expectType('backlog', name, t[name], 'i32');
  },
  reads: () => [],
  reference({ select, sequences, positions, complete, known, chosen, missing }, { rows, fresh }) {
    const G = known!.shape[1];
    const sequence = i32(sequences!)[0];
    const end = i32(positions!)[0] + 1;
    const have = i32(known!).subarray(sequence * G, (sequence + 1) * G);
    const asked = new Set(selected(select, 0, G));
    const taken: number[] = [];
    i32(missing!).set([sequence, end]);
    for (let g = 0; g < G; g++) {
      const from = Math.min(Math.max(have[g], i32(complete!)[0]), end - fresh);
      const takes = from < end && (asked.has(g) || end - from >= rows);
      if (takes) taken.push(g);
      have[g] = takes ? end : from;
      i32(missing!)[2 + g] = from;
    }
    u32(chosen!).set([taken.length, ...taken]);
  },
};

export interface BacklogInput {
  /** Heads that are wanted; default all. */
  readonly select?: Tensor | undefined;
  /** i32 [1], all three. */
  readonly sequences: Tensor;
  readonly positions: Tensor;
  readonly complete: Tensor;
  /** [B, G] */
  readonly known: Tensor;
  readonly fresh: boolean;
}

/** Record a `backlog`; returns which heads catch up [1, 1 + G], and with what [2 + G]. */
export function backlog(
  g: Recorder,
  { fresh, ...operands }: BacklogInput,
): { chosen: Tensor; missing: Tensor } {
  const G = operands.known.shape[1];
  const chosen = g.scratch('u32', [1, 1 + G]);
  const missing = g.scratch('i32', [2 + G]);
  const params = { rows: backlogRows, fresh: Number(fresh) };
  g.record(backlogOp, { ...operands, chosen, missing }, params);
  return { chosen, missing };
}

import { hostTensor } from '../../rows.ts';
import { casesOf, Inputs } from './inputs.ts';
import { keepInputOp, recentOp, backlogOp } from '../backlog.ts';

export const keepInput = casesOf(keepInputOp, () => {
  const random = new Inputs(70);
  return (['f32', 'int8'] as const).flatMap((dtype) =>
    [1, 33, 130].map((E, i) => ({
      name: `${dtype} [1,${E}]`,
      operands: {
        x: random.numbers([1, E], dtype),
        sequences: random.integers([i]),
        positions: random.integers([4 + 7 * i]),
        ring: random.numbers([3, 5, E], dtype),
      },
      params: {},
      tolerance: 0,
    })),
  );
});

export const recent = casesOf(recentOp, () => {
  const random = new Inputs(71);
  return [0, 3, 15, 16, 40].map((position) => ({
    name: `position ${position}`,
    operands: { positions: random.integers([position]), y: hostTensor('i32', [16]) },
    params: {},
  }));
});

export const backlog = casesOf(backlogOp, () => {
  const random = new Inputs(72);
  const known = [20, 21, 35, 5, 26, 34, 22, 33, 20];
  return [undefined, 0, 0.4, 2].flatMap((share) =>
    [
      { fresh: 1, complete: 0, position: 35 },
      { fresh: 0, complete: 0, position: 34 },
      { fresh: 1, complete: 26, position: 35 },
      { fresh: 1, complete: 22, position: 22 },
      { fresh: 1, complete: 0, position: 0 },
      { fresh: 0, complete: 35, position: 34 },
    ].map(({ fresh, complete, position }) => ({
      name: `share ${share} position ${position} complete ${complete} fresh ${fresh}`,
      operands: {
        select: share === undefined ? undefined : random.selection(1, 9, share),
        sequences: random.integers([1]),
        positions: random.integers([position]),
        complete: random.integers([complete]),
        known: random.integers([...known.map((n) => n + 100), ...known], [2, 9]),
        chosen: hostTensor('u32', [1, 10]),
        missing: hostTensor('i32', [11]),
      },
      params: { rows: 14, fresh },
    })),
  );
});

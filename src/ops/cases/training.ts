import { f32 } from '../../rows.ts';
import { casesOf, Inputs, output } from './inputs.ts';
import { weightGradientOp, reluGradientOp, bceGradientOp, adamOp } from '../training.ts';

export const weightGradient = casesOf(weightGradientOp, () => {
  const random = new Inputs(20);
  return [
    [1, 1, 1],
    [70, 33, 47],
    [33, 130, 20],
  ].map(([T = 0, N = 0, E = 0]) => ({
    name: `T ${T} N ${N} E ${E}`,
    operands: {
      dy: random.numbers([T, N]),
      x: random.numbers([T, E]),
      dw: output([N, E]),
      dbias: output([N]),
    },
    params: {},
  }));
});

export const reluGradient = casesOf(reluGradientOp, () => {
  const random = new Inputs(21);
  return [
    {
      name: '[3,37]',
      operands: {
        dy: random.numbers([3, 37]),
        y: random.numbers([3, 37]),
        dx: output([3, 37]),
      },
      params: {},
    },
  ];
});

export const bceGradient = casesOf(bceGradientOp, () => {
  const random = new Inputs(22);
  return [1, 133].map((N) => {
    const scores = random.numbers([3, N]);
    const labels = random.numbers([3, N]);
    f32(scores).forEach((s, i, all) => (all[i] = 9 * s));
    f32(labels).forEach((w, i, all) => (all[i] = Math.max(0, w)));
    return {
      name: `[3,${N}]`,
      operands: { scores, labels, ds: output([3, N]), losses: output([3]) },
      params: { negative: 0.7 },
    };
  });
});

export const adam = casesOf(adamOp, () => {
  const random = new Inputs(23);
  return [[37], [5, 33]].map((shape) => {
    const v = random.numbers(shape);
    f32(v).forEach((x, i, all) => (all[i] = Math.abs(x)));
    const schedule = random.numbers([3]);
    f32(schedule).set([1e-2, 1.7, 12]);
    return {
      name: `[${shape}]`,
      operands: {
        gradient: random.numbers(shape),
        schedule,
        w: random.numbers(shape),
        m: random.numbers(shape),
        v,
      },
      params: { beta1: 0.9, beta2: 0.95, eps: 1e-8, decay: 0.01 },
    };
  });
});

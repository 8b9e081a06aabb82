import { hostTensor, i32 } from '../../rows.ts';
import type { HostTensor } from '../../op.ts';
import type { CacheType } from '../attention.ts';
import { casesOf, Inputs } from './inputs.ts';
import { enterOp, observeOp, evictOp } from '../evict.ts';

const [B, G, S] = [2, 3, 40];

/** Texts and slots of a step's rows: `rows` of each text, after as many as are kept of it. */
function rowsAfter(
  random: Inputs,
  texts: readonly { text: number; kept: number; rows: number }[],
): { sequences: HostTensor; slots: HostTensor } {
  const of = (value: (text: number, slot: number) => number): HostTensor =>
    random.integers(
      texts.flatMap(({ text, kept, rows }) =>
        Array.from({ length: rows }, (_, i) => value(text, kept + i)),
      ),
    );
  return { sequences: of((text) => text), slots: of((_, slot) => slot) };
}

/** A ledger of random kept tokens, in random order; the tokens of `fresh` slots and later are the newest. */
function ledger(random: Inputs, fresh: number, ranked: boolean) {
  const column = (): HostTensor => hostTensor('i32', [B, G, S]);
  const [positions, ranks, looks, chances] = [column(), column(), column(), column()];
  for (let row = 0; row < B * G; row++) {
    const order = Array.from({ length: fresh }, (_, s) => ({ s, key: random.uniform() }));
    order.sort((a, b) => a.key - b.key);
    let position = 0;
    order.forEach(({ s }, rank) => {
      i32(ranks)[row * S + s] = rank;
      i32(positions)[row * S + s] = position;
      position += 1 + (rank >= 4 && random.uniform() < 0.3 ? 5 : 0);
    });
    for (let s = fresh; s < S; s++) {
      i32(ranks)[row * S + s] = s;
      i32(positions)[row * S + s] = position++;
    }
    for (let s = 0; s < S; s++) {
      const could = Math.floor(random.uniform() * 9);
      i32(chances)[row * S + s] = could;
      i32(looks)[row * S + s] = Math.floor(random.uniform() * (could + 1));
    }
  }
  return {
    positions,
    ranks: ranked ? ranks : undefined,
    scores: random.numbers([B, G, S]),
    looks,
    chances,
  };
}

function enterCases() {
  const random = new Inputs(90);
  return [true, false].map((ranked) => {
    const rows = rowsAfter(random, [
      { text: 1, kept: 5, rows: 3 },
      { text: 0, kept: 39, rows: 1 },
    ]);
    return {
      name: ranked ? 'with ranks' : 'without ranks',
      operands: { ...rows, at: random.integers([70, 71, 72, 1000]), ...ledger(random, 8, ranked) },
      params: {},
      tolerance: 0,
    };
  });
}

function observeCases() {
  const random = new Inputs(91);
  const texts = [
    { text: 1, kept: 20, rows: 4 },
    { text: 0, kept: 7, rows: 1 },
  ];
  return [1, 4].flatMap((group) =>
    [undefined, 0, 0.5].flatMap((share) =>
      [0, 3].flatMap((latest) =>
        [0, 1].flatMap((layer) =>
          [0, 1].map((fresh) => {
            const { scores, looks, chances } = ledger(random, 20, false);
            return {
              name: `H ${group * G} share ${share} latest ${latest} layer ${layer} fresh ${fresh}`,
              operands: {
                received: random.numbers([B, group * G, S]),
                ...rowsAfter(random, texts),
                select: share === undefined ? undefined : random.selection(5, group * G, share),
                ...{ scores, looks, chances },
              },
              params: { latest, layer, fresh },
            };
          }),
        ),
      ),
    ),
  );
}

function evictCases() {
  const random = new Inputs(92);
  const make = (
    kept: number,
    rows: number,
    sinks: number,
    recent: number,
    budget: number,
    options: {
      slack?: number;
      pool?: number;
      forget?: boolean;
      ranked?: boolean;
      type?: CacheType;
      D?: number;
    } = {},
  ) => {
    const { slack = 0, pool = 1, forget = false, ranked = false, type = 'f32', D = 5 } = options;
    return {
      name: `kept ${kept} rows ${rows} windows ${sinks} ${recent} budget ${budget} ${JSON.stringify(options)}`,
      operands: {
        ...rowsAfter(random, [
          { text: 1, kept, rows },
          { text: 0, kept, rows: 1 },
        ]),
        keys: random.numbers([B, G, S, D], type),
        values: random.numbers([B, G, S, D], type),
        ...ledger(random, kept, ranked),
      },
      params: { sinks, recent, budget, slack, pool, forget: Number(forget) },
      tolerance: 0,
    };
  };
  return [
    make(10, 1, 0, 4, 16),
    make(16, 1, 0, 8, 16),
    make(16, 1, 4, 6, 16, { ranked: true }),
    make(16, 1, 4, 12, 16, { ranked: true }),
    make(16, 9, 4, 6, 16, { ranked: true }),
    make(16, 20, 0, 0, 16, { ranked: true }),
    make(1, 1, 0, 1, 1),
    make(1, 30, 0, 1, 1, { ranked: true }),
    make(20, 4, 2, 5, 20, { slack: 4 }),
    make(21, 4, 2, 5, 20, { slack: 4, forget: true }),
    make(21, 10, 2, 5, 20, { slack: 4, forget: true, pool: 5 }),
    make(30, 8, 0, 8, 12, { pool: 3, ranked: true }),
    make(16, 3, 4, 6, 16, { type: 'f16', D: 40 }),
    make(16, 3, 4, 6, 16, { type: 'int8', D: 40, ranked: true }),
  ];
}

export const enter = casesOf(enterOp, enterCases);

export const observe = casesOf(observeOp, observeCases);

export const evict = casesOf(evictOp, evictCases);

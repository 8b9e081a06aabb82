/** What methods from outside the table may do: nothing they answer is lost on the way to the model. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chargedInFull } from '../src/bench/subject.ts';
import { BreakEven } from '../src/engine/break-even.ts';
import { Engine } from '../src/engine/local.ts';
import { openSession } from '../src/engine/session.ts';
import type { Model } from '../src/engine/step.ts';
import { full } from '../src/kv/full.ts';
import { Recorder } from '../src/program.ts';
import { type Selection, type Selector, wrap } from '../src/selector.ts';
import type { Sparsity } from '../src/sparsity.ts';

const parity = fileURLToPath(new URL('data/parity/', import.meta.url));

/** A selector with a member that nobody knows, and answers that need `this`. */
class Curious implements Selector {
  readonly #choice = 'all';
  static question = 'what nobody asks yet';

  select(): Selection {
    return this.#choice;
  }

  carry(): Selection {
    return this.#choice;
  }

  ask(): string {
    return `${Curious.question}, ${this.#choice}`;
  }
}

class CuriousMethod implements Sparsity {
  readonly #name = 'curious';
  readonly get = new Map<string, string>();

  get name(): string {
    return this.#name;
  }

  begin(): Selector {
    this.get.set(this.#name, 'begun');
    return new Curious();
  }
}

const expectWhole = (selector: Selector): void =>
  expect((selector as Curious).ask()).toBe('what nobody asks yet, all');

describe('a selector that is wrapped', () => {
  let engine: Engine;
  /** What the family was handed. */
  let seen: Selector[];
  let model: Model;
  const method = new CuriousMethod();

  beforeAll(async () => {
    engine = await Engine.open(`${parity}llama-relu`, { weights: 'f32', sparsity: 'dense' });
    seen = [];
    const { family } = engine.checkpoint;
    model = {
      ...engine.checkpoint,
      family: wrap(family, {
        forward(g, config, weights, step) {
          seen.push(step.sparsity);
          return family.forward(g, config, weights, step);
        },
      }),
    };
  });
  afterAll(() => engine[Symbol.asyncDispose]());

  it('keeps members that nobody knows, in a step', async () => {
    seen.length = 0;
    using session = openSession(engine.backend, model, { method, policy: full, capacity: 8 });
    await session.decode(3);
    expect(seen).toHaveLength(1);
    expectWhole(seen[0]);
  });

  it('keeps them where break-even is measured', async () => {
    seen.length = 0;
    const chooses: Sparsity = {
      name: 'chooses',
      begin: (g, step) =>
        wrap<Selector>(new Curious(), {
          select: (_, layer, x) => {
            const { limits } = step;
            if (limits && limits.neurons < 0) return 'all';
            return x;
          },
        }),
    };
    await new BreakEven(engine.backend, model).at(chooses, 2);
    expect(seen.length).toBeGreaterThan(1);
    seen.forEach(expectWhole);
  });

  it('keeps them where a benchmark charges in full, but for what it takes out', () => {
    const charged = chargedInFull(method);
    expect(charged.name).toBe('curious');
    const selector = charged.begin(new Recorder(), {} as never);
    expectWhole(selector);
    expect({ ...selector }).toHaveProperty('carry', undefined);
    expect(method.get.get('curious')).toBe('begun');
  });

  it('may be wrapped again, spread, and frozen before', () => {
    const ice: { name: string; degrees: number; melt: () => string } = {
      ...{ name: 'ice', degrees: 0, melt: () => 'water' },
    };
    const frozen = Object.freeze(ice);
    const wrapped = wrap(wrap(frozen, { degrees: 1 }), { melt: undefined });
    expect({ ...wrapped }).toEqual({ name: 'ice', degrees: 1, melt: undefined });
    expect(wrapped).not.toBe(frozen);
    expect(wrap(new Curious(), {})).toBeInstanceOf(Curious);
  });
});

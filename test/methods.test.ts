/** What methods from outside the table may do: nothing they answer is lost on the way to the model. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chargedInFull } from '../src/bench/subject.ts';
import type { StepUsage } from '../src/engine/accounts.ts';
import { Batch } from '../src/engine/batch.ts';
import { BreakEven } from '../src/engine/break-even.ts';
import { Engine } from '../src/engine/local.ts';
import { openSession } from '../src/engine/session.ts';
import type { Model } from '../src/engine/step.ts';
import { full } from '../src/kv/full.ts';
import { matricesOf, matrixName } from '../src/model.ts';
import type { Op } from '../src/op.ts';
import { clamp, magnitude } from '../src/ops/elementwise.ts';
import { selectAbove } from '../src/ops/select.ts';
import { blank } from '../src/ops/union.ts';
import { type Command, Recorder } from '../src/program.ts';
import {
  type Candidates,
  matrices,
  type Matrix,
  type Selection,
  type Selector,
  wrap,
} from '../src/selector.ts';
import type { Method, Sparsity } from '../src/sparsity.ts';
import { carryAbove } from '../src/sparsity/parts/carry.ts';
import { byteLength, reshape, type Tensor } from '../src/tensor.ts';
import { backendsThatOpen } from './support/opens.ts';

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

/** Carries neurons whose activation, weighed by what follows, is above a threshold of its layer. */
const largeActivations = (thresholds: readonly number[]): Method => ({
  name: 'large-activations',
  summary: 'of tests',
  needs: 'nothing',
  create: () => ({
    name: 'large-activations',
    begin: (g) => ({
      select: () => 'all',
      carry: carryAbove(g, thresholds, { weighted: true }),
    }),
  }),
});

/** Reads inputs of matrices that are above a threshold in magnitude, for any row. */
const largeInputs = (threshold: number, inputs: readonly Matrix[]): Method => ({
  name: 'large-inputs',
  summary: 'of tests',
  needs: 'nothing',
  inputs,
  create: () => ({
    name: 'large-inputs',
    begin: (g) => {
      const above = (_: number, { values, within }: Candidates) => ({
        select: selectAbove(g, values, threshold, { within, magnitude: true, shared: true }),
      });
      return {
        select: () => 'all',
        inputs: Object.fromEntries(inputs.map((matrix) => [matrix, above])),
      };
    },
  }),
});

/** What is multiplied by a matrix of a layer, with what counts for nothing set to zero. */
type Mask = (g: Recorder, x: Tensor, layer: number, norms: () => Tensor) => Tensor;

/** x where the scores are above a threshold, else 0. */
function zeroed(g: Recorder, x: Tensor, scores: Tensor, threshold: number): Tensor {
  const select = selectAbove(g, scores, threshold, { magnitude: true, shared: true });
  const copy = clamp(g, x, Infinity);
  return reshape(blank(g, reshape(copy, [...x.shape, 1]), select), x.shape);
}

/**
 * The same model by dense products of numbers of which some are set to zero: it skips nothing. In gated
 * models, it is the gates that are masked for the down projection where `gates` says so.
 */
function masked(model: Model, asked: readonly Matrix[], mask: Mask, gates = false): Model {
  const { family, weights, description } = model;
  const found = new Map<Tensor, { matrix: Matrix; layer: number }>();
  for (let layer = 0; layer < description.layers; layer++)
    for (const matrix of matricesOf(description).filter((matrix) => asked.includes(matrix)))
      found.set(weights.get(matrixName(layer, matrix)), { matrix, layer });
  const normsOf = (layer: number, matrix: Matrix) => (): Tensor =>
    weights.rowNorms(matrixName(layer, matrix), 1);
  return {
    ...model,
    family: wrap(family, {
      forward: (g, config, _, step) => {
        let gated = 0;
        const record = (op: Op, operands: Command['operands'], params: Command['params']): void => {
          const { w, x, a } = operands;
          const at = w && !gates ? found.get(w) : undefined;
          const operand = (): Command['operands'] => {
            if (at) return { x: mask(g, x!, at.layer, normsOf(at.layer, at.matrix)) };
            if (!gates || op.name !== 'multiply') return {};
            return { a: mask(g, a!, gated, normsOf(gated++, 'downProj')) };
          };
          g.record(op, { ...operands, ...operand() }, params);
        };
        return family.forward(wrap(g, { record }), config, weights, step);
      },
    }),
  };
}

const ids = Int32Array.from({ length: 6 }, (_, i) => (i * 37 + 5) % 331);

interface Decoded {
  readonly logits: readonly Float32Array[];
  readonly usage: StepUsage;
  readonly denseBytes: number;
}

/** Texts decoded together from their first token on, so that the method is asked for all of them. */
async function decode(
  { backend }: Engine,
  model: Model,
  method: Sparsity,
  rows: number,
): Promise<Decoded> {
  const setup = { method, policy: full, capacity: ids.length, sequences: rows };
  using batch = new Batch(backend, model, setup);
  const texts = Array.from({ length: rows }, () => batch.admit());
  const logits: Float32Array[] = [];
  for (const id of ids)
    logits.push(
      await batch.decode(
        texts,
        texts.map((text) => (id + 11 * text) % 331),
      ),
    );
  return { logits, usage: await batch.usage(), denseBytes: batch.denseBytes(rows) };
}

const largestGap = (a: readonly Float32Array[], b: readonly Float32Array[]): number =>
  Math.max(
    ...a.map(
      (row, i) =>
        row.reduce((gap, x, j) => Math.max(gap, Math.abs(x - b[i][j])), 0) /
        b[i].reduce((peak, x) => Math.max(peak, Math.abs(x)), 0),
    ),
  );

/** Weight bytes of a step are those of a dense one, less what the shares say was not read. */
function expectBytes(model: Model, { usage, denseBytes }: Decoded): void {
  let left = 0;
  for (const [matrix, shares] of Object.entries(usage.read))
    for (let layer = 0; layer < shares.length; layer++) {
      const { dtype, shape } = model.weights.get(matrixName(layer, matrix as Matrix));
      left += (1 - shares[layer]) * byteLength(dtype, shape);
    }
  expect(usage.weights).toBeCloseTo(denseBytes - left, 3);
}

const opens = await backendsThatOpen('methods');

describe.each(opens)('%s', (backend) => {
  describe.each(readdirSync(parity))('%s', (name) => {
    const layers = [0.15, 0.2, 0.3];
    const inner: readonly Matrix[] = ['qProj', 'kProj'];
    const every: readonly Matrix[] = [...matrices];
    let engine: Engine;
    let model: Model;
    let dense: Decoded;
    beforeAll(async () => {
      const options = { backend, weights: 'f32', context: 16 } as const;
      await using usual = await Engine.open(parity + name, { ...options, sparsity: 'dense' });
      dense = await decode(usual, usual.checkpoint, usual.method('dense'), 1);
      engine = await Engine.open(parity + name, { ...options, sparsity: largeInputs(0, every) });
      model = engine.checkpoint;
    });
    afterAll(() => engine[Symbol.asyncDispose]());

    it.each([1, 3])('activations above a threshold of the layer, %i rows', async (rows) => {
      const { gated } = engine.description;
      const method = engine.method(largeActivations(layers));
      const found = await decode(engine, model, method, rows);
      // Of a gated model the gate is weighed, of another the activations that the projection reads.
      const weighed: Mask = (g, x, layer, norms) =>
        zeroed(g, x, magnitude(g, reshape(x, [...x.shape, 1]), norms()), layers[layer]);
      const reference = masked(model, ['downProj'], weighed, gated);
      const expected = await decode(engine, reference, engine.method('dense'), rows);
      expect(found.logits).toEqual(expected.logits);
      expect(found.logits).not.toEqual(dense.logits);
      expectBytes(model, found);
      expect(Math.min(...found.usage.neurons)).toBeLessThan(1);
      for (let layer = 0; layer < layers.length; layer++) {
        const carried = found.usage.read.downProj![layer];
        expect(found.usage.neurons[layer]).toBeCloseTo(carried, 12);
        expect(carried).toBeGreaterThan(0);
        expect(carried).toBeLessThanOrEqual(1);
        expect(found.usage.read[gated ? 'gateProj' : 'upProj']![layer]).toBe(1);
      }
    });

    it.each([1, 3])('inputs above a threshold, %i rows', async (rows) => {
      for (const read of [inner, every]) {
        const method = engine.method(largeInputs(0.7, read));
        const found = await decode(engine, model, method, rows);
        const reference = masked(model, read, (g, x) => zeroed(g, x, x, 0.7));
        const expected = await decode(engine, reference, engine.method('dense'), rows);
        expect(found.logits).toEqual(expected.logits);
        expect(found.logits).not.toEqual(dense.logits);
        expectBytes(model, found);
        for (const [matrix, shares] of Object.entries(found.usage.read))
          for (const share of Array.from(shares))
            if (!read.includes(matrix as Matrix)) expect(share).toBe(1);
        for (const matrix of read.filter((matrix) => found.usage.read[matrix])) {
          const shares = Array.from(found.usage.read[matrix]!);
          expect(Math.max(...shares)).toBeLessThanOrEqual(1);
          expect(Math.min(...shares)).toBeLessThan(rows === 1 ? 0.95 : 1);
        }
      }
    });

    it('all inputs are dense, in another order of sums', async () => {
      const found = await decode(engine, model, engine.method(largeInputs(-1, every)), 1);
      expect(largestGap(found.logits, dense.logits)).toBeLessThan(2e-5);
      expect(found.usage.weights).toBe(found.denseBytes);
    });
  });
});

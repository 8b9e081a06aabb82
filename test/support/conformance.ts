import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend, BackendFactory, OptOut } from '../../src/backend.ts';
import { refusals } from '../../src/backends/expect.ts';
import type { Case, HostTensor, Op } from '../../src/op.ts';
import { ops } from '../../src/ops/index.ts';
import type { Tensor } from '../../src/tensor.ts';
import { promises } from './promises.ts';
import { casesOf, expectClose, expected, type Operands, runOp } from './run-op.ts';

/**
 * What every backend is tested with, in each of its variants: the cases of all ops against their reference
 * loops, and what the contract promises besides. Cases that it opts out of are skips that state the reason.
 */
export async function conform(factory: BackendFactory): Promise<void> {
  const { name, optsOut = [] } = factory;
  it(`${name} opts out of ops and cases that there are`, () => {
    expect(strayOptOuts(optsOut)).toEqual([]);
  });
  const variants = (await factory.variants?.()) ?? [{ name: '', options: {} }];
  if (variants.length === 0) {
    console.warn(`conformance: nothing opens the ${name} backend here; skipped`);
    it.skip(`${name}: nothing opens it here`);
  }
  for (const variant of variants)
    describe(`${name} ${variant.name}`.trim(), () => {
      let backend: Backend;
      beforeAll(async () => {
        backend = await factory.open(variant.options);
      });
      afterAll(() => backend[Symbol.asyncDispose]());
      for (const op of ops)
        describe(op.name, () => {
          for (const example of casesOf(op)) {
            const reason = optOut(optsOut, op, example)?.reason;
            if (reason === undefined) it(example.name, () => checkCase(backend, op, example));
            else it.skip(`${example.name} (${reason})`);
          }
        });
      promises(() => backend);
    });
}

/** What a backend says about a case that it does not run; undefined where it says nothing. */
export const optOut = (optsOut: readonly OptOut[], op: Op, example: Case): OptOut | undefined =>
  optsOut.find((out) => out.op === op.name && (out.case ?? example.name) === example.name);

/** What opts out of nothing: its op or case has another name by now. */
export const strayOptOuts = (optsOut: readonly OptOut[]): readonly OptOut[] =>
  optsOut.filter(
    (out) => !ops.some((op) => casesOf(op).some((example) => optOut([out], op, example))),
  );

/** Fails, with the shapes of the case, where a backend refuses it or computes anything else than the reference. */
export async function checkCase(backend: Backend, op: Op, example: Case): Promise<void> {
  try {
    const { operands, params } = example;
    const [reason] = refusals(backend, [{ op, operands: withoutMemory(operands), params }]);
    if (reason !== undefined)
      expect.fail(`refused: ${reason}; expected a kernel, or the reason in \`optsOut\``);
    const found = await runOp(backend, op, operands, params);
    const { bf16Products = false } = backend.info;
    const tolerance = (bf16Products && example.tileTolerance) || (example.tolerance ?? 1e-5);
    for (const [name, wanted] of Object.entries(expected(op, example)))
      expectClose(found[name], wanted, tolerance);
  } catch (cause) {
    throw new Error(`${op.name} of ${shapesOf(example)}: ${(cause as Error).message}`, { cause });
  }
}

const given = (operands: Operands): [string, HostTensor][] =>
  Object.entries(operands).flatMap(([name, host]) => (host ? [[name, host]] : []));

const withoutMemory = (operands: Operands): Record<string, Tensor> =>
  Object.fromEntries(
    given(operands).map(([name, { dtype, shape }]) => [
      name,
      { dtype, shape, role: 'state', storage: undefined, byteOffset: 0 },
    ]),
  );

/** `x f32 [1,257], w int4z [40,257] { activation: 0, block: 1 }` */
const shapesOf = ({ operands, params }: Case): string =>
  `${given(operands)
    .map(([name, { dtype, shape }]) => `${name} ${dtype} [${shape}]`)
    .join(', ')} ${JSON.stringify(params)}`;

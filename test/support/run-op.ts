import { readdirSync } from 'node:fs';
import { expect } from 'vitest';
import type { Backend } from '../../src/backend.ts';
import type { Case, HostTensor, Op } from '../../src/op.ts';
import type { CasesOf } from '../../src/ops/cases/inputs.ts';
import { Recorder } from '../../src/program.ts';
import { f32, u32 } from '../../src/rows.ts';
import type { Tensor } from '../../src/tensor.ts';

export type Operands = Record<string, HostTensor | undefined>;

const folder = new URL('../../src/ops/cases/', import.meta.url);
const files = await Promise.all(
  readdirSync(folder).map((file) => import(`../../src/ops/cases/${file}`) as Promise<object>),
);
const isCases = (value: unknown): value is CasesOf =>
  typeof value === 'object' && value !== null && 'op' in value && 'make' in value;

/** Each op's cases, and what the reference loop writes for each, are the same for every backend. */
const cases = new Map(
  files
    .flatMap((file): unknown[] => Object.values(file))
    .filter(isCases)
    .map(({ op, make }) => [op, make()]),
);

/** Throws where an op has none. */
export function casesOf(op: Op): readonly Case[] {
  const found = cases.get(op);
  if (!found?.length) throw new Error(`src/ops/cases has no cases of ${op.name}`);
  return found;
}

/** Runs one op on a backend; returns what it wrote, by operand name. */
export async function runOp(
  backend: Backend,
  op: Op,
  operands: Operands,
  params: Record<string, number>,
): Promise<Record<string, HostTensor>> {
  const tensors: Record<string, Tensor> = {};
  for (const [name, host] of Object.entries(operands))
    if (host) {
      tensors[name] = backend.allocate(host.dtype, host.shape, 'state');
      backend.write(tensors[name], host.bytes);
    }
  const g = new Recorder();
  g.record(op, tensors, params);
  const program = await backend.compile(g.finish());
  await backend.run(program);
  const written: Record<string, HostTensor> = {};
  for (const name of op.writes)
    if (operands[name])
      written[name] = { ...operands[name], bytes: (await backend.read([tensors[name]]))[0] };
  program.release();
  Object.values(tensors).forEach((tensor) => backend.free(tensor));
  return written;
}

const copy = (t: HostTensor): HostTensor => ({ ...t, bytes: t.bytes.slice() });

const answers = new WeakMap<Case, Record<string, HostTensor>>();

/** What the reference loop writes for a case, by operand name. */
export function expected(op: Op, example: Case): Record<string, HostTensor> {
  const known = answers.get(example) ?? computed(op, example);
  answers.set(example, known);
  return known;
}

function computed(op: Op, { operands, params }: Case): Record<string, HostTensor> {
  const copies = Object.fromEntries(
    Object.entries(operands).map(([name, host]) => [name, host && copy(host)]),
  );
  op.reference(copies, params);
  return Object.fromEntries(
    op.writes.flatMap((name) => (copies[name] ? [[name, copies[name]]] : [])),
  );
}

/** Fails where `found` is further from `wanted` than `tolerance` of its largest magnitude. */
export function expectClose(found: HostTensor, wanted: HostTensor, tolerance: number): void {
  if (wanted.dtype === 'u32') return expectSelections(u32(found), u32(wanted), wanted.shape);
  if (wanted.dtype !== 'f32') return expect(found.bytes).toEqual(wanted.bytes);
  const [a, b] = [f32(found), f32(wanted)];
  const range = b.reduce((peak, x) => (Math.abs(x) > peak ? Math.abs(x) : peak), 0);
  b.forEach((x, i) => {
    const near = Number.isNaN(x) ? Number.isNaN(a[i]) : Math.abs(a[i] - x) <= tolerance * range;
    if (!near) expect.fail(`element ${i}: ${a[i]}, expected ${x} within ${tolerance * range}`);
  });
}

/** Rows of a selection agree up to their count; what lies beyond it is nobody's. Counts are rank 1. */
function expectSelections(a: Uint32Array, b: Uint32Array, shape: readonly number[]): void {
  if (shape.length === 1) return expect(a).toEqual(b);
  const [rows = 0, stride = 0] = shape;
  for (let row = 0; row < rows; row++) {
    const count = b[row * stride];
    const end = row * stride + 1 + count;
    expect(a.slice(row * stride, end)).toEqual(b.slice(row * stride, end));
  }
}

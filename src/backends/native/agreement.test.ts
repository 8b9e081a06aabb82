import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import type { Op } from '../../op.ts';
import { activate, type Activation, activationCode } from '../../ops/activation.ts';
import { addOp } from '../../ops/elementwise.ts';
import { linear, linearOp } from '../../ops/linear.ts';
import { placeScratch, Recorder } from '../../program.ts';
import type { DType, Tensor } from '../../tensor.ts';
import { firstThatOpens } from '../open.ts';
import { reference } from '../reference/index.ts';
import { type Addon, loadAddon } from './addon.ts';
import { disagreements, type Vocabulary } from './agreement.ts';
import { native, openNative } from './index.ts';
import { type Tape, toTape } from './tape.ts';

const packageFolder = fileURLToPath(new URL('../../..', import.meta.url));

function vocabularyOf(addon: Addon): Vocabulary {
  const device = addon.open(addon.isas()[0], 1);
  const vocabulary = {
    types: addon.types(),
    kernels: addon.kernels(device),
    activations: addon.activations(device),
  };
  addon.close(device);
  return vocabulary;
}

describe.skipIf(native.isas().length === 0)('what the addon was compiled for', () => {
  const compiled = vocabularyOf(loadAddon());
  const tensor = (dtype: DType, shape: readonly number[]): Tensor => ({
    ...{ dtype, shape, role: 'state', byteOffset: 0 },
    storage: { bytes: 1 << 20, role: 'state' },
  });

  /** The kernel of an op, with other names. */
  const kernel = (op: string, changed: object): Vocabulary => ({
    ...compiled,
    kernels: compiled.kernels.map((known) => (known.op === op ? { ...known, ...changed } : known)),
  });

  it('is what this program speaks of', () => {
    expect(disagreements(compiled)).toEqual([]);
  });

  it('may come in another order: types and activations are found by name', () => {
    const { types, activations } = compiled;
    const turned = {
      ...compiled,
      types: [...types].reverse(),
      activations: [...activations].reverse(),
    };
    expect(disagreements(turned)).toEqual([]);
    const g = new Recorder();
    linear(g, { x: tensor('f32', [1, 4]), w: tensor('f32', [2, 4]), activation: 'silu' });
    const [here, there] = [compiled, turned].map((names) => [...tape(g, names).numbers]);
    expect(there.at(-2)).toBe(activations.length - 1 - here.at(-2)!);
  });

  it.each<[string, Vocabulary, string]>([
    [
      'an operand in another place',
      kernel('norm', { operands: ['x', 'bias', 'weight', 'y'] }),
      'norm takes the operands x, bias, weight, y; here they are x, weight, bias, y',
    ],
    [
      'one parameter fewer',
      kernel('norm', { params: ['eps'] }),
      'norm takes the parameters eps; here they are eps, rms',
    ],
    [
      'a kernel without an op',
      kernel('norm', { op: 'softmax' }),
      'it has a kernel for softmax, which is no op',
    ],
    [
      'an activation it lacks',
      { ...compiled, activations: compiled.activations.filter((name) => name !== 'geluTanh') },
      'it does not know the activation geluTanh',
    ],
    [
      'a type it lacks',
      { ...compiled, types: compiled.types.filter(({ name }) => name !== 'int4z') },
      'it does not know the type int4z',
    ],
    [
      'a type with another group',
      {
        ...compiled,
        types: compiled.types.map((type) =>
          type.name === 'int4g64' ? { ...type, group: 128 } : type,
        ),
      },
      'int4g64 has group 128; here 64',
    ],
  ])('%s is named', (_, addon, sentence) => {
    expect(disagreements(addon)).toEqual([sentence]);
  });

  it('a tape refuses an op, a type and an activation that it does not know', () => {
    const g = new Recorder();
    linear(g, { x: tensor('f32', [1, 4]), w: tensor('f32', [2, 4]), activation: 'silu' });
    const without: [string, Vocabulary][] = [
      ['no activation silu', { ...compiled, activations: ['none', 'relu'] }],
      ['no type f32', { ...compiled, types: compiled.types.slice(1) }],
      ['no kernel for linear', { ...compiled, kernels: [] }],
    ];
    for (const [message, vocabulary] of without) expect(() => tape(g, vocabulary)).toThrow(message);
  });
});

function tape(g: Recorder, vocabulary: Vocabulary): Tape {
  const recording = g.finish();
  return toTape(recording, placeScratch(recording, 64), vocabulary);
}

describe('an activation that is in no table', () => {
  const unknown = /activation (cubed|9): expected none \(0\), relu \(1\)/;

  it('has no code, is not computed, and is not recorded', () => {
    expect(() => activationCode('cubed' as Activation)).toThrow(unknown);
    expect(() => activate(9, 2)).toThrow(unknown);
    const f32 = (...shape: number[]): Tensor => ({
      ...{ dtype: 'f32', shape, role: 'state', storage: undefined, byteOffset: 0 },
    });
    const g = new Recorder();
    const operands = { x: f32(1, 4), w: f32(2, 4), y: f32(1, 2) };
    expect(() => g.record(linearOp, operands, { activation: 9, block: 1 })).toThrow(unknown);
  });
});

const release = path.join(packageFolder, 'build/Release');

describe.skipIf(!existsSync(path.join(release, 'dejavu.node')))('an addon of other sources', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dejavu-stale-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  mkdirSync(path.join(folder, 'build'));
  cpSync(path.join(packageFolder, 'native'), path.join(folder, 'native'), { recursive: true });
  symlinkSync(release, path.join(folder, 'build/Release'));
  const opens = () => openNative({ threads: 1 }, folder);

  it('is refused in a checkout, by open and by auto; an installed package does not look', async () => {
    const added = path.join(folder, 'native/src/kernels/new.h');
    writeFileSync(added, '// a kernel\n');
    await (await opens())[Symbol.asyncDispose]();

    mkdirSync(path.join(folder, 'src/backends/native'), { recursive: true });
    const refusal = {
      code: 'BACKEND_OUTDATED',
      message: expect.stringMatching(/other sources than native\/src.*npm run native/) as string,
    };
    await expect(opens()).rejects.toMatchObject(refusal);
    const stale = { name: 'native', summary: 'stale', open: opens };
    await expect(firstThatOpens([stale, reference], {})).rejects.toMatchObject(refusal);

    rmSync(added);
    await (await opens())[Symbol.asyncDispose]();
  });
});

it.skipIf(native.isas().length === 0)(
  'an op with its operands in another order than its kernel keeps the backend from opening',
  async () => {
    const op = addOp as unknown as { operands: Op['operands'] };
    const before = op.operands;
    op.operands = ['b', 'a', 'y'];
    try {
      await expect(openNative({ threads: 1 })).rejects.toMatchObject({
        code: 'BACKEND_OUTDATED',
        message: expect.stringContaining(
          'add takes the operands a, b, y; here they are b, a, y',
        ) as string,
      });
    } finally {
      op.operands = before;
    }
  },
);

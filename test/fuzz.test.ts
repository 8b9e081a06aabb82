/**
 * Headers that somebody broke, or made up: a typed error or a valid model, and never more memory than the
 * file is long. A few thousand here; `node runs/fuzz.mjs` does 100 000 of each format.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { EngineError } from '../src/errors.ts';
import { storedWeights } from '../src/loaders/checkpoint.ts';
import type { Entry, TensorFiles } from '../src/loaders/entry.ts';
import { readGguf } from '../src/loaders/gguf/reader.ts';
import { translate } from '../src/loaders/gguf/translate.ts';
import { encodeHeader, readHeader } from '../src/loaders/safetensors.ts';
import { familyOf } from '../src/models/index.ts';
import { Inputs } from '../src/ops/cases/inputs.ts';
import type { Source } from '../src/source.ts';
import { ggufTokenizer } from '../src/tokenizer/gguf.ts';
import { asGguf } from './support/as-gguf.ts';
import { encodeGguf } from './support/gguf-file.ts';

const runs = Number(process.env.DEJAVU_FUZZ ?? 3000);
const seed = Number(process.env.DEJAVU_FUZZ_SEED ?? 1);
const parity = fileURLToPath(new URL('data/parity/', import.meta.url));

/** What a header says is bounded by the file: so are all reads, together by a few times its size. */
function sourceOf(bytes: Uint8Array<ArrayBuffer>): Source {
  let read = 0;
  return {
    name: 'fuzz',
    size: bytes.length,
    read(offset, length) {
      expect(offset >= 0 && length >= 0 && offset + length <= bytes.length).toBe(true);
      expect((read += length)).toBeLessThanOrEqual(4 * bytes.length + 64);
      return Promise.resolve(bytes.slice(offset, offset + length));
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Tensors lie within the file, and no two share a byte. */
function expectApart(tensors: Iterable<Pick<Entry, 'offset' | 'bytes'>>, size: number): void {
  let end = 0;
  for (const { offset, bytes } of [...tensors].sort(
    (a, b) => a.offset - b.offset || a.bytes - b.bytes,
  )) {
    expect(offset).toBeGreaterThanOrEqual(end);
    end = offset + bytes;
  }
  expect(end).toBeLessThanOrEqual(size);
}

const filesOf = (entries: ReadonlyMap<string, Entry>): TensorFiles => ({
  entries,
  metadata: {},
  [Symbol.asyncDispose]: () => Promise.resolve(),
});

/** As far as weights would be read from there. */
async function openGguf(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const header = await readGguf(sourceOf(bytes));
  expectApart(header.tensors.values(), bytes.length);
  const { config: json, entries } = await translate('fuzz', header);
  const family = familyOf(json, 'fuzz');
  storedWeights('fuzz', json, family.weights(family.config(json)), filesOf(entries));
  ggufTokenizer('fuzz', header);
}

const config: unknown = JSON.parse(readFileSync(`${parity}llama/config.json`, 'utf8'));

async function openSafetensors(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const { entries } = await readHeader(sourceOf(bytes));
  expectApart(entries.values(), bytes.length);
  const family = familyOf(config, 'fuzz');
  storedWeights('fuzz', config, family.weights(family.config(config)), filesOf(entries));
}

const vocabulary = encodeGguf({
  metadata: [
    ['general.architecture', 'llama'],
    ['tokenizer.ggml.model', 'llama'],
    ['tokenizer.ggml.tokens', ['<unk>', '<s>', '▁a', 'b', '▁ab', '<0x00>']],
    ['tokenizer.ggml.scores', { of: 6, values: [0, 0, -1, -2, -3, 0] }],
    ['tokenizer.ggml.token_type', { of: 5, values: [2, 3, 1, 1, 1, 6] }],
    ['general.alignment', { type: 4, value: 32 }],
    ['numbers', { of: 10, values: [1, 2, 3] }],
  ],
  tensors: [
    { name: 'a', shape: [2, 32], type: 2, bytes: new Uint8Array(36) },
    { name: 'b', shape: [3], type: 0, bytes: new Uint8Array(12) },
  ],
});

class Mutator {
  readonly #random: Inputs;

  constructor(from: number) {
    this.#random = new Inputs(from);
  }

  below(n: number): number {
    return Math.min(n - 1, Math.floor(this.#random.uniform() * n));
  }

  /** One to four changes, most of them among the first `header` bytes. */
  mutate(original: Uint8Array<ArrayBuffer>, header: number): Uint8Array<ArrayBuffer> {
    let bytes = original.slice();
    for (let left = 1 + this.below(4); left > 0; left--) {
      const at = this.below(Math.min(header, bytes.length));
      bytes = this.#changes[this.below(this.#changes.length)](bytes, at);
    }
    return bytes;
  }

  readonly #changes: readonly ((
    bytes: Uint8Array<ArrayBuffer>,
    at: number,
  ) => Uint8Array<ArrayBuffer>)[] = [
    (bytes, at) => {
      bytes[at] ^= 1 << this.below(8);
      return bytes;
    },
    (bytes, at) => {
      bytes[at] = this.below(256);
      return bytes;
    },
    // A number beyond what there is: in a length, a count, an offset or a type.
    (bytes, at) => {
      const view = new DataView(bytes.buffer);
      const value = numbers[this.below(numbers.length)] + BigInt(this.below(3));
      if (at + 8 <= bytes.length) view.setBigUint64(at, BigInt.asUintN(64, value), true);
      return bytes;
    },
    (bytes, at) => {
      const value = Number(BigInt.asUintN(32, numbers[this.below(numbers.length)]));
      if (at + 4 <= bytes.length) new DataView(bytes.buffer).setUint32(at, value, true);
      return bytes;
    },
    (bytes, at) => bytes.slice(0, at),
    (bytes) => bytes.slice(0, this.below(bytes.length + 1)),
    (bytes, at) => joined(bytes.subarray(0, at), bytes.subarray(at + this.below(16))),
    (bytes, at) => {
      const again = bytes.subarray(at, at + this.below(64));
      return joined(bytes.subarray(0, at), again, bytes.subarray(at));
    },
    (bytes, at) => {
      const digits = new TextEncoder().encode(String(numbers[this.below(numbers.length)]));
      return joined(bytes.subarray(0, at), digits, bytes.subarray(at));
    },
    (bytes, at) => {
      const from = this.below(bytes.length);
      bytes.copyWithin(at, from, from + this.below(32));
      return bytes;
    },
  ];
}

const numbers = [
  ...[0n, 1n, 7n, 8n, 31n, 255n, 2n ** 16n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n],
  ...[2n ** 40n, 2n ** 52n, 2n ** 53n, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 3n],
];

function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** How each ended, by code of the error. */
async function fuzz(
  originals: readonly { bytes: Uint8Array<ArrayBuffer>; header: number }[],
  open: (bytes: Uint8Array<ArrayBuffer>) => Promise<void>,
): Promise<Record<string, number>> {
  const mutator = new Mutator(seed);
  const ends: Record<string, number> = {};
  for (const { bytes } of originals) await ending(open(bytes));
  for (let run = 0; run < runs; run++) {
    const { bytes, header } = originals[run % originals.length];
    const end = await ending(open(mutator.mutate(bytes, header)));
    ends[end] = (ends[end] ?? 0) + 1;
  }
  return ends;
}

async function ending(opened: Promise<void>): Promise<string> {
  try {
    await opened;
    return 'valid';
  } catch (error) {
    if (error instanceof EngineError && error.code !== 'INTERNAL') return error.code;
    throw error;
  }
}

describe(`${runs} broken headers, seed ${seed}:`, () => {
  const peak = (): number => process.resourceUsage().maxRSS * 1024;
  /** Of heap and process, whatever was broken: files here have a few hundred kilobytes. */
  const mostMemory = 2 ** 28;

  it('GGUF', async () => {
    const llama = await asGguf(`${parity}llama`);
    const before = peak();
    const ends = await fuzz(
      [
        { bytes: vocabulary, header: vocabulary.length },
        { bytes: llama, header: 2600 },
      ],
      openGguf,
    );
    console.log(
      `GGUF: ${JSON.stringify(ends)}, memory +${((peak() - before) / 2 ** 20).toFixed(0)} MB`,
    );
    expect(ends.BAD_CHECKPOINT).toBeGreaterThan(runs / 10);
    expect(peak() - before).toBeLessThan(mostMemory);
  }, 3_600_000);

  it('safetensors', async () => {
    const whole = new Uint8Array(readFileSync(`${parity}llama/model.safetensors`));
    const small = joined(
      encodeHeader([{ name: 'a', type: 'F32', shape: [2, 3], bytes: 24 }], { format: 'pt' }),
      new Uint8Array(24),
    );
    const before = peak();
    const ends = await fuzz(
      [
        { bytes: small, header: small.length },
        { bytes: whole, header: 8 + Number(new DataView(whole.buffer).getBigUint64(0, true)) },
      ],
      openSafetensors,
    );
    console.log(
      `safetensors: ${JSON.stringify(ends)}, memory +${((peak() - before) / 2 ** 20).toFixed(0)} MB`,
    );
    expect(ends.BAD_CHECKPOINT).toBeGreaterThan(runs / 10);
    expect(peak() - before).toBeLessThan(mostMemory);
  }, 3_600_000);
});
